"""The GPUs on a call's page: what an error means stands there once, whatever told it."""

import io
from typing import Any

from rich.console import Console

from llmtrail.cli.page_gpu import gpu_parts


def _page(*gpus: dict[str, Any], **document: Any) -> str:
    console = Console(file=io.StringIO(), width=160)
    found = {"told_by": "config", "deployment": "llama", "gpus": gpus, "engines": [], "clocks": {}} | document
    for part in gpu_parts({"gpu": found}):
        console.print(part)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def _gpu(index: int, *xids: int | None) -> dict[str, Any]:
    samples = [{"phase": "during", "after_start_ms": 100, "xid": xid} for xid in xids]
    return {"host": "node-1", "gpu_index": index, "samples": samples}


def test_each_error_of_the_driver_is_told_with_its_meaning_and_advice_once() -> None:
    page = _page(_gpu(0, None, 79), _gpu(1, 79, 31))
    assert page.count("XID 79 (hardware): The GPU has fallen off the bus. Drain the node") == 1
    assert page.count("XID 31 (application): GPU memory page fault") == 1
    assert "XID 7 " not in page
    assert "XID" not in _page(_gpu(0, None))


def test_gpus_of_which_nothing_is_to_be_said_are_a_line_each_and_those_that_stand_out_are_told_whole() -> None:
    def busy(index: int, **odd: object) -> dict[str, Any]:
        samples = [{"phase": "during", "after_start_ms": ms, "utilization": ms / 1000} for ms in (100, 900)]
        return {"host": "node-1", "gpu_index": index, "samples": [*samples[:1], {**samples[1], **odd}]}

    quiet = [busy(index) for index in range(3)]
    page = _page(*quiet, busy(3, throttle_reasons=["hw_thermal"]), busy(4, temperature_c=91.0), busy(5, xid=79))
    assert "3 GPUs without errors, throttling or heat" in page
    assert page.count("10% to 90%") == len(quiet)
    # Two samples of each of the three others.
    assert page.count("during +") == 6
    assert "without errors" not in _page(*quiet[:2])
    assert _page(*quiet[:2]).count("during +") == 4


def test_an_error_that_no_table_knows_is_told_as_such() -> None:
    assert "XID 9999 (other): XID 9999. Look it up" in _page(_gpu(0, 9999))


def test_clocks_are_told_against_the_logs_and_what_is_beyond_the_allowance_stands_out() -> None:
    off = {"ahead_ms_min": 7_000, "ahead_ms_max": 9_000, "beyond_allowance": True}
    page = _page(_gpu(0, None), clocks={"application": None, "nodes": {"node-1": off}})
    assert "the application not measured, 5 s allowed for" in page
    assert "node-1 +7.0 to +9.0 s (beyond the 5 s allowed for: set it right)" in page
