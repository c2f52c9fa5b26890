"""The table of statistics fits the terminal, tells what matters and trusts no name."""

import io
from typing import Any

import pytest
from rich.console import Console

from llmtrail.cli.stats_view import shown

PERCENTILES = {"p50": 442.0, "p90": 2_930.0, "p95": 3_120.0, "p99": 7_780.0}
NONE = dict.fromkeys(PERCENTILES)


def scope(**fields: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "tenant": "",
        "feature": "support-answer",
        "calls": 1_086,
        "errors": 0,
        "error_rate": 0.0,
        "cost_nanousd": 68_675_000,
        "unpriced": 0,
        "input_tokens": 3_928,
        "output_tokens": 6_962,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "attempts": 1_090,
        "retries": 4,
        "failures": {},
        "latency_ms": PERCENTILES,
        "time_to_first_token_ms": NONE,
    }
    return told | fields


def document(*scopes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "window": "1h",
        "kind": "feature",
        "zone": "UTC",
        "now": "2026-11-21T11:23:02Z",
        "as_of": "2026-11-21T11:22:57Z",
        "relative_error": 1 / 128,
        "order": "cost",
        "found": len(scopes),
        "scopes": list(scopes),
        "late": 0,
        "skewed": 0,
        "overflowed": 0,
        "let_go": None,
    }
    return told | fields


def printed(told: dict[str, Any], width: int = 160) -> str:
    paper = io.StringIO()
    Console(file=paper, width=width, highlight=False, markup=False, emoji=False).print(shown(told, width))
    return paper.getvalue()


def test_a_wide_terminal_is_told_everything() -> None:
    failing = scope(
        errors=99,
        error_rate=99 / 1_086,
        failures={"timeout": 9, "model_error": 90, "truncated": 2, "parser_failed": 1},
        time_to_first_token_ms=PERCENTILES,
        unpriced=2,
    )
    text = printed(document(failing))
    for said in (
        "Last hour by feature · newest call counted 5.00 s ago",
        "support-answer",
        "1,086",
        "99 (9.1%)",
        "$0.068675*",
        "442 ms",
        "7.78 s",
        "first token",
        "model_error 90",
        "timeout 9",
        "and 1 more",
        "* without 2 calls that no price is known of.",
    ):
        assert said in text, said
    assert text.index("model_error 90") < text.index("timeout 9")


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_narrow_terminal_is_told_less_but_nothing_cut_off(width: int) -> None:
    text = printed(document(scope(failures={"timeout": 9}), scope(feature="chat", errors=5, error_rate=0.5)), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for said in ("support-answer", "1,086", "5 (50.0%)", "$0.068675", "442 ms", "3.12 s"):
        assert said in text, said


def test_what_is_not_known_is_said_and_never_zero() -> None:
    text = printed(document(scope(cost_nanousd=None, unpriced=1_086, retries=None, latency_ms=NONE)))
    assert "unknown" in text
    assert "$0" not in text
    assert "p50" not in text, "a column that says nothing is left out"


def test_nothing_at_all_is_said_in_words() -> None:
    assert "Last hour by feature: no calls · nothing was counted yet" in printed(document(as_of=None))


def test_what_the_figures_leave_out_is_told() -> None:
    let_go = {"scopes": 1_234, "attempts_max": 3, "cost_nanousd_max": 5_000_000}
    text = printed(document(scope(), found=7, late=2, skewed=1, overflowed=9, let_go=let_go))
    assert "the first 1 of 7 by cost" in text
    assert "2 calls came more than a day after they began" in text
    assert "1 call began after they arrived" in text
    assert "counted under (other)" in text
    assert "1,234 were let go, of at most 3 attempts or $0.005000 each" in text


def test_names_of_senders_move_no_cursor() -> None:
    text = printed(document(scope(feature="\x1b[2Jevil\u202e[red]", tenant="acme")))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]" in text
    assert "acme" in text
