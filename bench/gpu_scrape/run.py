"""Measure the processor time of a collector that reads a node each second, as a share of one core."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from record import record  # noqa: E402

from llmtrail_gpu.history import History  # noqa: E402
from llmtrail_gpu.page import Place, read_page  # noqa: E402
from llmtrail_gpu.simulate import Node, dcgm_page  # noqa: E402

CASE = tomllib.loads((HERE / "case.toml").read_text())
WARM_S = 3.0
TICKS = os.sysconf("SC_CLK_TCK")


class Both(BaseHTTPRequestHandler):
    """Serves the page, and takes scrapes as the gateway does."""

    page = b""
    taken = 0

    def do_GET(self) -> None:
        """Serve the page."""
        self._answer(Both.page)

    def do_POST(self) -> None:
        """Take scrapes."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        scrapes = [json.loads(line) for line in body.split(b"\n")]
        assert all(len(scrape["gpus"]) == CASE["load"]["gpus"] for scrape in scrapes)
        Both.taken += len(scrapes)
        self._answer(json.dumps({"accepted": len(scrapes), "rejected": []}).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def cpu_s(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / TICKS


def share_of_a_core(url: str) -> float:
    load = CASE["load"]
    with tempfile.TemporaryDirectory() as folder:
        collector = subprocess.Popen(
            [sys.executable, "-m", "llmtrail", "gpu", "--target", f"{url}/metrics", "--gateway", url,
             "--interval", str(load["interval_s"]), "--data", folder, "--port", "0"],
            stdout=subprocess.PIPE, text=True, cwd=folder,
        )  # fmt: skip
        assert collector.stdout is not None
        assert "is up" in collector.stdout.readline()
        time.sleep(WARM_S)
        before_s, began_s, before = cpu_s(collector.pid), time.monotonic(), Both.taken
        time.sleep(load["seconds"])
        spent_s, passed_s = cpu_s(collector.pid) - before_s, time.monotonic() - began_s
        collector.terminate()
        collector.wait(20)
        assert Both.taken - before >= load["seconds"] * 0.8, "the collector did not keep its pace"
    return spent_s / passed_s


def main() -> None:
    load = CASE["load"]
    page = dcgm_page(Node(gpus=load["gpus"]), 10.0)
    series = sum(not line.startswith("#") for line in page.splitlines())
    assert series == load["gpus"] * load["fields"], series
    Both.page = page.encode()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Both)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shares = [share_of_a_core(f"http://127.0.0.1:{server.server_port}") for _ in range(load["repetitions"])]
    server.shutdown()
    times = []
    for _ in range(50):
        began_s = time.process_time()
        read_page(Both.page, Place("n", "t"), 1, History())
        times.append(time.process_time() - began_s)
    median = statistics.median(shares)
    record(
        "gpu_scrape",
        {
            "series": series,
            "core_share": round(median, 4),
            "core_share_worst": round(max(shares), 4),
            "core_share_limit": CASE["goal"]["core_share_max"],
            "ratio_to_limit": round(median / CASE["goal"]["core_share_max"], 2),
            "read_page_ms": round(statistics.median(times) * 1e3, 2),
        },
    )


if __name__ == "__main__":
    main()
