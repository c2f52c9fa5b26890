"""Each field page of an exporter, served and read by `llmtrail gpu --once URL --json` as its HOW.md says."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmtrail.cli.app import build

FIELD = Path(__file__).parents[1] / "fixtures/field"
CASES = sorted(folder.name for folder in FIELD.glob("g*"))


class Page(BaseHTTPRequestHandler):
    """Answers the page of the case that the path names."""

    def do_GET(self) -> None:
        page = (FIELD / self.path.strip("/") / "page.txt").read_bytes() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("case", CASES)
def test_the_command_prints_the_right_values_of_a_field_page(url: str, case: str) -> None:
    done = CliRunner().invoke(build(), ["gpu", "--once", f"{url}/{case}", "--json"])
    document = json.loads(done.stdout)
    right = json.loads((FIELD / case / "expected.json").read_text())["right"]
    assert {path: at(document, path) for path in right} == right


def at(document: Any, path: str) -> Any:
    """The value at `gpus.0.power_w`; what is unknown is absent."""
    if path == "n_gpus":
        return len(document["gpus"])
    for step in path.split("."):
        document = document[int(step)] if step.isdecimal() else document.get(step)
    return document
