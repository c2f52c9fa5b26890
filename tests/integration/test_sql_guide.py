"""The statements of docs/guide/sql.md run as they stand there, the Python among them."""

import re
import socket
import threading
from collections.abc import Iterator, Sized
from pathlib import Path

import httpx
import pytest
import uvicorn

from eventually import eventually
from llmtrail.access.gate import open_gate
from llmtrail.store.handle import open_chdb
from llmtrail.store.insert import insert_calls
from llmtrail.store.migrate import migrate
from llmtrail_web.sql_endpoint import SqlConfig, sql_app
from stored_calls import a_full_call, a_row

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "sql.md").read_text(encoding="utf-8")
STATEMENTS = [block for block in re.findall(r"```sql\n(.*?)```", GUIDE, re.DOTALL) if block.startswith("SELECT")]
CURLS = re.findall(r"curl 'http://localhost:8123/\?(.*?)' --data-binary \"(.*?)\"", GUIDE, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    store = open_chdb(tmp_path_factory.mktemp("guide"))
    migrate(store)
    insert_calls(store, [a_row(a_full_call(number)) for number in range(1, 4)], "calls")
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(sql_app(store, SqlConfig(), open_gate()), log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        eventually(lambda: server.started)
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        store.close()


@pytest.mark.parametrize("statement", STATEMENTS)
def test_statements_of_the_guide_run(port: int, statement: str) -> None:
    answer = httpx.post(f"http://127.0.0.1:{port}/", content=statement)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("params", "statement"), CURLS)
def test_curl_lines_of_the_guide_run(port: int, params: str, statement: str) -> None:
    answer = httpx.post(f"http://127.0.0.1:{port}/?{params}", content=statement)
    assert answer.status_code == 200, answer.text


def test_python_of_the_guide_runs(port: int) -> None:
    assert PYTHON
    for block in PYTHON:
        found: dict[str, object] = {}
        exec(block.replace("port=8123", f"port={port}"), found)
        assert found["rows"] == [("parser_failed", 3)]
        frame = found["frame"]
        assert isinstance(frame, Sized)
        assert len(frame) == 3


def test_the_guide_has_statements_of_each_kind() -> None:
    assert len(STATEMENTS) >= 4
    assert len(CURLS) == 2
