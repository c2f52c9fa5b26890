"""The guide tells what the tables of the code tell."""

from pathlib import Path

from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape, Reason
from llmtrail.core.gpu_board import GpuBoard, GpuFate
from llmtrail.core.gpu_document import WINDOWS, GpuQuestion, gpu_document
from llmtrail.core.xid import XIDS

GUIDE = (Path(__file__).parents[3] / "docs/guide/gpu.md").read_text()


def test_every_xid_of_the_table_stands_in_the_guide() -> None:
    # Codes of one meaning share a row.
    codes: dict[tuple[str, str, str], list[str]] = {}
    for one in XIDS.values():
        codes.setdefault((one.kind, one.meaning, one.advice), []).append(str(one.code))
    rows = [f"| {', '.join(numbers)} | {' | '.join(told)} |" for told, numbers in codes.items()]
    assert [row for row in rows if row not in GUIDE] == []


def test_every_reason_of_a_rejection_stands_in_the_guide() -> None:
    assert [reason for reason in Reason if f"`{reason}`" not in GUIDE] == []


def test_every_name_of_the_statistics_stands_in_the_guide() -> None:
    board, at_ns = GpuBoard(), 1_763_700_000_000_000_000
    gpu = GpuSample(sampled_at_ns=at_ns, host="a", gpu_uuid="g", xid=79, utilization=1.0)
    engine = EngineSample(sampled_at_ns=at_ns, host="a", address="e", engine=Engine.VLLM)
    board.take(GpuScrape(sampled_at_ns=at_ns, host="a", target="t", gpus=(gpu,), engines=(engine,)), at_ns)
    told = gpu_document(board, GpuQuestion(), at_ns)
    (device,) = told["devices"]
    names = {*told, *device, *device["xids"][0], *device["utilization"], *told["engines"][0], *told["targets"][0]}
    assert {name for name in names if f'"{name}"' not in GUIDE} == set()
    assert [window for window in WINDOWS if f"`{window}`" not in GUIDE] == []
    silent = {GpuFate.APPLIED, GpuFate.REPEATED, GpuFate.BAD}  # what goes without saying
    assert [fate for fate in GpuFate if fate not in silent and f"`{fate}`" not in GUIDE] == []
