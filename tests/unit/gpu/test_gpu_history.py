"""What a scrape means after the one before: rates, means, resets, and XIDs that are new."""

import pytest

from llmtrail.core.gpu import GpuScrape
from llmtrail.core.xid import XIDS, XidClass, xid_of
from llmtrail_gpu.history import GAP_NS_MAX, History
from llmtrail_gpu.page import Place, read_page

S = 1_000_000_000
PLACE = Place("here", "t", "t:1")


def scrapes(*pages: str, step_ns: int = 10 * S) -> list[GpuScrape]:
    """Read the pages one after the other, `step_ns` apart."""
    history, told = History(), []
    for number, page in enumerate(pages, start=1):
        scrape, history = read_page(page.encode(), PLACE, number * step_ns, history)
        told.append(scrape)
    return told


def engine(tokens: int, total_s: float = 0.0, count: int = 0) -> str:
    return (
        f"vllm:generation_tokens_total {tokens}\n"
        f"vllm:time_to_first_token_seconds_sum {total_s}\nvllm:time_to_first_token_seconds_count {count}\n"
    )


def xid(code: int, more: str = "") -> str:
    return f'DCGM_FI_DEV_XID_ERRORS{{gpu="0",UUID="GPU-1"}} {code}\n{more}'


def test_tokens_a_second_and_means_are_of_the_stretch_between_two_scrapes() -> None:
    first, second = scrapes(engine(1_000, 10.0, 100), engine(6_000, 12.0, 110))
    assert (first.engines[0].tokens_s, first.engines[0].time_to_first_token_ms) == (None, None)
    assert second.engines[0].tokens_s == 500.0
    assert second.engines[0].time_to_first_token_ms == pytest.approx(200.0)


def test_a_counter_that_was_reset_gives_no_rate_once() -> None:
    told = scrapes(engine(1_000, 10.0, 100), engine(50, 1.0, 5), engine(150, 1.5, 6))
    assert [scrape.engines[0].tokens_s for scrape in told] == [None, None, 10.0]
    assert [scrape.engines[0].time_to_first_token_ms for scrape in told] == [None, None, 500.0]
    assert told[1].engines[0].generated_tokens == 50


def test_no_request_between_two_scrapes_is_no_time_of_zero() -> None:
    _, second = scrapes(engine(1_000, 10.0, 100), engine(1_000, 10.0, 100))
    assert (second.engines[0].tokens_s, second.engines[0].time_to_first_token_ms) == (0.0, None)


def test_a_gap_or_a_clock_that_went_back_gives_no_rate() -> None:
    _, second = scrapes(engine(1), engine(2), step_ns=GAP_NS_MAX + 1)
    assert second.engines[0].tokens_s is None
    _, history = read_page(engine(1).encode(), PLACE, 10 * S, History())
    back, _ = read_page(engine(2).encode(), PLACE, 9 * S, history)
    assert back.engines[0].tokens_s is None


def test_an_xid_is_an_event_once_and_never_adds_up() -> None:
    told = scrapes(xid(0), xid(31), xid(31), xid(13), xid(0), xid(13))
    assert [scrape.gpus[0].xid for scrape in told] == [None, 31, None, 13, None, 13]
    assert [scrape.gpus[0].last_xid for scrape in told] == [0, 31, 31, 13, 0, 13]


def test_at_first_sight_only_an_xid_that_leaves_the_gpu_unfit_is_told() -> None:
    assert [scrapes(xid(code))[0].gpus[0].xid for code in (13, 31, 79, 119)] == [None, None, 79, 119]


def test_the_same_xid_again_is_known_by_the_exporters_window() -> None:
    def window(times: int) -> str:
        return f'DCGM_EXP_XID_ERRORS_COUNT{{gpu="0",UUID="GPU-1",window_size_in_ms="300000",xid="31"}} {times}\n'

    told = scrapes(xid(31, window(1)), xid(31, window(2)), xid(31, window(2)), xid(31, window(0)))
    assert [scrape.gpus[0].xid for scrape in told] == [None, 31, None, None]


def test_the_same_xid_again_is_known_by_the_exporters_total_until_it_starts_anew() -> None:
    def total(times: int) -> str:
        return f'DCGM_EXP_XID_ERRORS_TOTAL{{gpu="0",UUID="GPU-1",xid="31"}} {times}\n'

    told = scrapes(xid(31, total(4)), xid(31, total(5)), xid(31, total(5)), xid(31, total(0)), xid(31, total(1)))
    assert [scrape.gpus[0].xid for scrape in told] == [None, 31, None, None, 31]


def test_a_gpu_that_comes_back_with_its_old_xid_does_not_tell_it_again() -> None:
    told = scrapes(xid(0), xid(79), "", xid(79))
    assert [[gpu.xid for gpu in scrape.gpus] for scrape in told] == [[None], [79], [], [None]]


def test_every_xid_of_the_table_says_what_to_do_and_any_other_is_told_as_unknown() -> None:
    assert all(one.meaning and one.advice.endswith(".") and one.code == code for code, one in XIDS.items())
    assert xid_of(79).kind is XidClass.HARDWARE
    assert xid_of(99_999).kind is XidClass.OTHER
    assert not xid_of(99_999).outlasts


def test_an_xid_is_of_the_class_that_nvidias_catalogue_wants_done_at_once() -> None:
    # Codes by the catalogue's column "Resolution Bucket (Immediate Action)".
    restart_app = {8, 11, 13, 25, 31, 32, 39, 60, 68, 69, 70, 80, 82, 86, 96, 105, 126, 135, 139}
    reset_gpu = {46, 62, 64, 95, 109, 110, 119, 120, 140, 143, 155, 156, 158}
    assert {xid_of(code).kind for code in restart_app} == {XidClass.APPLICATION}
    assert {xid_of(code).kind for code in reset_gpu} == {XidClass.RESET}
    assert xid_of(48).kind is XidClass.RESET  # WORKFLOW_XID_48, which begins with a reset
    assert xid_of(94).kind is XidClass.MEMORY  # RESTART_APP, and a reset when it suits
    # What is to be ignored at once never leaves a GPU unfit.
    ignore = {37, 38, 43, 44, 63, 66, 67, 92, 93, 121, 137, 141, 157, 160, 161}
    assert [code for code in ignore if xid_of(code).outlasts] == []
