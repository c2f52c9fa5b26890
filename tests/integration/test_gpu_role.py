"""The collector as a process of its own: from a page to rows, each once, though its gateway comes later."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventually import eventually
from gpu_guide import READINGS, RECORDS, SAMPLES
from house import START_S_MAX, STOP_S_MAX, STORED_S_MAX, is_up, running_house
from llmtrail.local import port_file
from llmtrail.testing.kafka_broker import free_port
from llmtrail_gpu.simulator import Simulator

PAGE = """# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",Hostname="node-1"} 75
DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-1",Hostname="node-1"} 31
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-2",Hostname="node-1"} 5
DCGM_FI_DEV_FUTURE{gpu="0",UUID="GPU-1",Hostname="node-1"} 1
"""
CONFIG = """
[gpu]
node = "node-1"
targets = ["{exporter}", "{exporter}-gone"]
interval_s = 1
gateway = "{gateway}"
"""


@contextmanager
def _collector(folder: Path, config: str) -> "Iterator[subprocess.Popen[bytes]]":
    folder.mkdir()
    (folder / "llmtrail.toml").write_text(config)
    command = [sys.executable, "-m", "llmtrail", "gpu", "--port", "0", "--data", str(folder)]
    with (folder / "printed.txt").open("wb") as printed:
        process = subprocess.Popen(
            [*command, "--config", str(folder / "llmtrail.toml")], stdout=printed, stderr=printed
        )
    try:
        eventually(lambda: process.poll() is not None or is_up(folder, process.pid), START_S_MAX)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(STOP_S_MAX)


def _metric(folder: Path, start: str) -> float:
    where = port_file.read(folder)
    assert where is not None, (folder / "printed.txt").read_text()
    with urllib.request.urlopen(f"{where.http}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))


def test_what_a_collector_reads_is_stored_once_though_its_gateway_comes_later(tmp_path: Path) -> None:
    served: list[float] = []

    def page(age_s: float) -> str:
        served.append(age_s)
        return PAGE

    port, folder = free_port(), tmp_path / "collector"
    with Simulator({"/metrics": page}, lambda: 0.0) as exporter:
        config = CONFIG.format(exporter=exporter.urls[0], gateway=f"http://127.0.0.1:{port}")
        with _collector(folder, config) as collector:
            # Nobody takes them yet.
            eventually(lambda: _metric(folder, "llmtrail_gpu_waiting_scrapes ") >= 1, START_S_MAX)
            with running_house(tmp_path / "house", port=port) as house:
                kept = len(served)
                eventually(lambda: house.sql("SELECT count() FROM llmtrail.gpu_samples")[0][0] > 2 * kept, STORED_S_MAX)
                assert _metric(folder, "llmtrail_gpu_lost_scrapes") == 0
                assert _metric(folder, "llmtrail_gpu_delivered_scrapes") > kept
                collector.terminate()
                assert collector.wait(STOP_S_MAX) == 0
                # A scrape of no time: the gateway turns it away.
                assert house.ask("POST", "/v1/gpu", b'{"host": 7}').status == 400
                house.settle()
                came = int(house.metric('llmtrail_gpu_scrapes_total{fate="acknowledged"}'))
                eventually(lambda: house.sql("SELECT count() FROM llmtrail.gpu_scrapes") == [[came]], STORED_S_MAX)
                assert [row[2:] for row in house.sql(RECORDS)] == [[came, came, 0, 0]]
                assert sum(row[3] for row in house.sql(SAMPLES)) == 0
                assert sum(row[2] for row in house.sql(SAMPLES)) == 2 * len(served)
                good, gone = house.sql(READINGS)
                assert (good[2:5], good[6:]) == ([len(served), 0, ""], [3 * len(served), {"unknown": len(served)}])
                assert gone[1] == f"{exporter.urls[0]}-gone"
                assert gone[2] == gone[3] > 0
                assert gone[4]
                assert house.sql(
                    "SELECT gpu_uuid, uniqExact(sampled_at), any(utilization), max(last_xid), count(xid) "
                    "FROM llmtrail.gpu_samples GROUP BY gpu_uuid ORDER BY gpu_uuid"
                ) == [["GPU-1", len(served), 0.75, 31, 0], ["GPU-2", len(served), 0.05, None, 0]]
                told = "SELECT count() FROM llmtrail.dead_letters WHERE headers['schema'] = 'gpu.v1'"
                eventually(lambda: house.sql(told) == [[1]], STORED_S_MAX)
                assert house.metric('llmtrail_gpu_scrapes_total{fate="received"}') == came + 1
    assert not list((folder / "gpu-spool").glob("**/*.seg"))
