"""The tables of GPUs tell what is known, leave out what nobody told, and trust no name."""

import io
import json
from dataclasses import replace

from rich.console import Console

from llmtrail.cli.gpu_view import shown
from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.gpu_document import GpuQuestion, gpu_document
from llmtrail.core.window import Window

NS = 1_000_000_000
NOW_NS = 1_763_700_059 * NS
GPU = GpuSample(
    sampled_at_ns=0,
    host="node-a",
    gpu_uuid="GPU-1",
    gpu_index=3,
    utilization=0.97,
    memory_used_bytes=95,
    memory_total_bytes=100,
    power_w=640.0,
    power_limit_w=700.0,
    xid=79,
    throttle_reasons=("hw_thermal",),
)
ENGINE = EngineSample(
    sampled_at_ns=0, host="node-a", address="10.0.0.1:8000", engine=Engine.VLLM, model="llama", waiting=40
)


def printed(*scrapes: GpuScrape, host: str | None = None) -> str:
    board, paper = GpuBoard(), io.StringIO()
    for one in scrapes:
        board.take(one, one.sampled_at_ns)
    told = json.loads(json.dumps(gpu_document(board, GpuQuestion(Window.HOUR, host), NOW_NS)))
    Console(file=paper, width=140, highlight=False, markup=False, emoji=False).print(shown(told, 140))
    return paper.getvalue()


def scrape(ago_s: int, *gpus: GpuSample, error: str = "", host: str = "node-a") -> GpuScrape:
    at_ns = NOW_NS - ago_s * NS
    return GpuScrape(sampled_at_ns=at_ns, host=host, target="dcgm", gpus=gpus, engines=(ENGINE,), error=error)


def test_gpus_and_model_servers_are_told_and_unknown_columns_left_out() -> None:
    text = printed(scrape(30, GPU), scrape(15, replace(GPU, xid=None)))

    for said in (
        "Last hour of GPUs · 1 GPU, 1 model",
        "node-a",
        "97%",
        "95%",
        "640 W",
        "700 W",
        "hw_thermal 100%",
        "XID 79 (hardware)",
        "10.0.0.1:8000",
        "llama",
        "40",
    ):
        assert said in text
    for unknown in ("heat", "ECC", "KV-cache", "tokens/s", "silent"):
        assert unknown not in text


def test_targets_that_are_silent_or_fail_are_told() -> None:
    text = printed(
        scrape(100, GPU), scrape(85, GPU), scrape(10, error="refused", host="node-b"), scrape(0, GPU, host="node-c")
    )

    assert "node-a dcgm: silent for 1 min 25 s." in text
    assert "node-b dcgm: refused" in text
    assert "node-c dcgm" not in text
    assert "No collector was heard of in the last day: see" in printed()
    assert "in the last day of this node, though of others" in printed(scrape(0, GPU), host="nobody")


def test_names_of_senders_are_shown_and_never_obeyed() -> None:
    text = printed(scrape(5, replace(GPU, pod="\x1b[2Jp[bold]")))

    assert "\x1b" not in text
    assert "p[bold]" in text
