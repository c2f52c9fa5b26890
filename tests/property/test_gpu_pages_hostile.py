"""Any text gives samples or counted rejections, never an exception, within bounded time."""

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.gpu import GpuScrape, Reason, decode_scrape, encode_scrape
from llmtrail_gpu.dcgm import _PARTS
from llmtrail_gpu.engines import _FAMILIES, MODELS_MAX
from llmtrail_gpu.history import History
from llmtrail_gpu.page import Place, read_page, why_not
from llmtrail_gpu.series import (
    LINES_MAX,
    PAGE_BYTES_MAX,
    REJECTED_KEPT_MAX,
    SERIES_MAX,
    Rejections,
    Series,
    read_series,
)

PLACE = Place("here", "t", "t:1")
NAMES = st.sampled_from([*_PARTS, *_FAMILIES, "DCGM_FI_DEV_X", "dcgm_gpu_temp", "up", "nv_x"])
ODD = st.sampled_from(['"', "\\", "{", "}", ",", "=", " ", "\n", "#", "\r", "\x00", "\x85", "\u2028", "NaN", "1e999"])
LABELS = st.lists(
    st.tuples(
        st.sampled_from(["gpu", "UUID", "GPU_I_ID", "Hostname", "xid", "clock_event", "model_name", "tp_rank", "le"])
        | st.text(max_size=5),
        st.text(max_size=20) | st.sampled_from(["0", "GPU-1", "79", "99999999999"]),
    ),
    max_size=6,
).map(lambda pairs: "{" + ",".join(f'{name}="{value}"' for name, value in pairs) + "}")
VALUES = st.one_of(
    st.floats().map(str), st.integers(-(2**70), 2**70).map(str), st.text(max_size=8),
    st.sampled_from(["", "0x10", "1_0", "+Inf", "-Inf", "1 2 3", "9223372036854775794"]),
)  # fmt: skip
LINES = st.tuples(NAMES, LABELS | st.just("") | ODD, st.just(" ") | ODD, VALUES).map("".join)
PAGES = st.lists(LINES | st.text(max_size=40) | ODD, max_size=12).map("\n".join)


def read(page: bytes, history: History | None = None) -> tuple[GpuScrape, History]:
    return read_page(page, PLACE, 10**18, history or History())


@given(st.lists(PAGES.map(str.encode) | st.binary(max_size=200), min_size=1, max_size=3))
def test_any_pages_in_a_row_are_read_and_can_be_sent(pages: list[bytes]) -> None:
    history = History()
    for number, page in enumerate(pages):
        scrape, history = read_page(page, PLACE, 10**18 + number, history)
        assert decode_scrape(encode_scrape(scrape)) == scrape
        assert len(scrape.rejected) <= REJECTED_KEPT_MAX


@given(PAGES)
def test_every_line_is_a_comment_a_value_or_a_rejection(page: str) -> None:
    scrape, _ = read((page + "\n").encode())
    lines = [line for line in page.split("\n") if line.strip() and not line.startswith("#")]
    rejected = sum(scrape.rejected_counts.values())
    assert scrape.used_lines is not None
    assert scrape.used_lines + rejected == len(lines)
    assert bool(scrape.used_lines) == bool(scrape.gpus or scrape.engines)


@given(st.data())
def test_a_page_cut_anywhere_tells_only_what_the_whole_page_tells(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(10, 110), min_size=1, max_size=6))
    page = "".join(f'DCGM_FI_DEV_GPU_TEMP{{gpu="{n}",UUID="GPU-{n}"}} {value}\n' for n, value in enumerate(values))
    cut, _ = read(page[: data.draw(st.integers(0, len(page)))].encode())
    whole, _ = read(page.encode())
    assert whole.gpus[: len(cut.gpus)] == cut.gpus


def test_a_page_of_ten_megabytes_is_read_up_to_its_limit() -> None:
    line = b'DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-1"} 71\n'
    scrape, _ = read(b"# a comment of some length that costs nothing\n" * (10 * 1024 * 1024 // 46) + line)
    assert scrape.rejected_counts[Reason.OVER_LIMIT] > 1
    assert scrape.gpus == ()
    assert len(encode_scrape(scrape)) < 10_000


def test_a_million_labels_on_a_line_are_one_rejection() -> None:
    labels = ",".join(f'l{number}="x"' for number in range(1_000_000))
    scrape, _ = read(f"DCGM_FI_DEV_GPU_TEMP{{{labels[: PAGE_BYTES_MAX - 100]}}} 71\n".encode())
    assert scrape.rejected_counts == {Reason.TOO_LONG: 1}


def test_a_million_series_are_read_up_to_their_limit() -> None:
    page = "".join(f'vllm:num_requests_running{{model_name="{n}"}} 1\n' for n in range(LINES_MAX + 10))
    scrape, _ = read(page.encode())
    assert len(scrape.engines) == MODELS_MAX
    # The text behind the last line that is looked at is one piece: what follows its last line feed is counted too.
    assert sum(scrape.rejected_counts.values()) == LINES_MAX + 10 - MODELS_MAX + 1
    assert set(scrape.rejected_counts) == {Reason.OVER_LIMIT}
    assert len(series_within(page)) == SERIES_MAX


def series_within(page: str) -> list[Series]:
    return read_series(page, why_not, Rejections())
