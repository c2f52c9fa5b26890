"""The SDK in real processes: exit, kill, fork, spawn, late calls, and one spool shared by all of them."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventually import eventually
from integration.emit_gateway import Gateway, Reply, running_gateway

_PREAMBLE = """
import atexit, json, os, sys, time
import llmtrail

def record(first, count):
    for n in range(first, first + count):
        llmtrail.record(request_model="m", messages=[{"role": "user", "content": "hello " * 50}], attributes={"n": n})

def show(**more):
    stats = llmtrail.stats()
    print(json.dumps({"recorded": stats.recorded, "sent": stats.sent_accepted, "spooled": stats.spooled_pending,
                      "queued": stats.queued, "adopted": stats.adopted, "adds_up": stats.adds_up, **more}), flush=True)
"""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


def start(script: str, url: str, spool: Path, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _PREAMBLE + textwrap.dedent(script)],
        env={**os.environ, "LLMTRAIL_URL": url, "LLMTRAIL_SPOOL": str(spool), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(script: str, url: str, spool: Path, **environment: str) -> list[dict[str, Any]]:
    process = start(script, url, spool, **environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err, err
    return [json.loads(line) for line in out.splitlines()]


# Measures what the SDK's exit handler takes: registered before it, so run after it; and it prints what was left.
_TIMED_EXIT = """
    atexit.unregister(recorder_module._at_exit)
    atexit.register(lambda: show(exit_s=time.monotonic() - began[0]))
    atexit.register(recorder_module._at_exit)
    atexit.register(lambda: began.append(time.monotonic()))
"""
_TIMED_RECORDING = f"""
    from llmtrail.emit import recorder as recorder_module
    began = []
    {_TIMED_EXIT.strip()}
    record(0, 2000)
"""


def test_a_process_that_exits_at_once_has_sent_everything(gateway: Gateway, tmp_path: Path) -> None:
    (last,) = run(_TIMED_RECORDING, gateway.url, tmp_path)
    assert last["exit_s"] < 1.0
    assert (last["recorded"], last["sent"], last["adds_up"]) == (2000, 2000, True)
    assert gateway.numbers() == list(range(2000))
    assert not list(tmp_path.rglob("*.seg"))


def silent(gateway: Gateway) -> None:
    def behave(events: list[dict[str, Any]], size: int) -> Reply:
        gateway.let_go.wait(30)
        return Reply(503, b"")

    gateway.behaviour = behave


@pytest.mark.parametrize("state", ["silent", "gone"])
def test_exit_takes_under_a_second_and_spools_what_could_not_be_sent(
    state: str, gateway: Gateway, tmp_path: Path
) -> None:
    silent(gateway)
    url = gateway.url
    if state == "gone":
        with running_gateway() as gone:
            url = gone.url
    (last,) = run(_TIMED_RECORDING, url, tmp_path)
    assert last["exit_s"] < 1.0
    assert (last["recorded"], last["spooled"], last["adds_up"]) == (2000, 2000, True)
    segments = list(tmp_path.rglob("*.seg"))
    assert segments
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in segments)
    assert all(path.parent.stat().st_mode & 0o777 == 0o700 for path in segments)

    # When the gateway is there, the next process sends what this one left.
    with running_gateway() as back:
        (next_,) = run("llmtrail.flush(0.1); record(2000, 1); assert llmtrail.flush(20); show()", back.url, tmp_path)
        assert (next_["adopted"], next_["sent"], next_["adds_up"]) == (2000, 2001, True)
        assert sorted(back.numbers()) == list(range(2001))
    assert not list(tmp_path.rglob("*.seg"))


def test_a_killed_process_loses_only_what_was_not_yet_durable(gateway: Gateway, tmp_path: Path) -> None:
    gateway.behaviour = lambda events, size: Reply(503, b"")
    process = start(
        """
        record(0, 500)
        while llmtrail.stats().spooled_pending < 500:
            time.sleep(0.01)
        time.sleep(0.5)  # longer than the time within which spooled calls become durable
        show()
        sys.stdin.read()
        """,
        gateway.url,
        tmp_path,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["spooled"] == 500
    process.kill()
    process.communicate()
    with running_gateway() as back:
        run("record(500, 1); assert llmtrail.flush(20)", back.url, tmp_path)
        eventually(lambda: sorted(back.numbers()) == list(range(501)))


def test_a_living_process_keeps_its_spool_to_itself(gateway: Gateway, tmp_path: Path) -> None:
    gateway.behaviour = lambda events, size: Reply(503, b"")
    owner = start(
        """
        record(0, 50)
        while llmtrail.stats().spooled_pending < 50:
            time.sleep(0.01)
        show()
        sys.stdin.read()
        """,
        gateway.url,
        tmp_path,
    )
    assert owner.stdout is not None
    owner.stdout.readline()
    with running_gateway() as other:
        (stats,) = run("record(50, 1); assert llmtrail.flush(20); show()", other.url, tmp_path)
        assert stats["adopted"] == 0
        assert other.numbers() == [50]
    owner.kill()
    owner.communicate()


def test_forked_children_send_their_own_calls_and_not_their_parents(gateway: Gateway, tmp_path: Path) -> None:
    (stats,) = run(
        """
        record(0, 300)
        children = []
        for child in range(3):
            pid = os.fork()
            if pid == 0:
                record(1000 * (child + 1), 100)
                sys.exit(0)  # runs the exit handlers, as a pre-forking server's worker does
            children.append(pid)
        record(300, 100)
        assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
        assert llmtrail.flush(20)
        show()
        """,
        gateway.url,
        tmp_path,
    )
    assert (stats["recorded"], stats["sent"]) == (400, 400)
    expected = [*range(400), *range(1000, 1100), *range(2000, 2100), *range(3000, 3100)]
    assert sorted(event["attributes"]["n"] for event in gateway.accepted) == expected  # each exactly once
    assert not list(tmp_path.rglob("*.seg"))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_lose_nothing_at_their_end(method: str, gateway: Gateway, tmp_path: Path) -> None:
    module = tmp_path / "work.py"
    module.write_text(_PREAMBLE + "def work(first):\n    record(first, 50)\n")
    run(
        f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import multiprocessing, work
        if __name__ == "__main__":
            record(0, 1)
            context = multiprocessing.get_context({method!r})
            children = [context.Process(target=work.work, args=(100 * i,)) for i in (1, 2)]
            for child in children: child.start()
            for child in children: child.join()
            assert [child.exitcode for child in children] == [0, 0]
        """,
        gateway.url,
        tmp_path / "spool",
    )
    assert sorted(gateway.numbers()) == [0, *range(100, 150), *range(200, 250)]


def test_calls_made_by_later_exit_handlers_are_spooled(gateway: Gateway, tmp_path: Path) -> None:
    (stats,) = run(
        """
        from llmtrail.emit import recorder as recorder_module
        atexit.unregister(recorder_module._at_exit)
        atexit.register(lambda: (record(10, 5), show()))
        atexit.register(recorder_module._at_exit)
        record(0, 10)
        """,
        gateway.url,
        tmp_path,
    )
    assert (stats["sent"], stats["spooled"], stats["adds_up"]) == (10, 5, True)
    run("record(15, 1); assert llmtrail.flush(20)", gateway.url, tmp_path)
    eventually(lambda: sorted(gateway.numbers()) == list(range(16)))


def test_disabled_means_no_thread_no_file_no_request(gateway: Gateway, tmp_path: Path) -> None:
    (stats,) = run(
        """
        import threading
        record(0, 10)
        with llmtrail.request(request_id="r") as request:
            request.parser("ok")
        assert llmtrail.flush(1)
        assert threading.active_count() == 1
        show()
        """,
        gateway.url,
        tmp_path / "spool",
        LLMTRAIL_DISABLED="1",
    )
    assert stats["recorded"] == 0
    assert gateway.requests == 0
    assert not (tmp_path / "spool").exists()


def test_settings_that_cannot_work_do_not_stop_the_application(gateway: Gateway, tmp_path: Path) -> None:
    (stats,) = run(
        "record(0, 3); llmtrail.flush(1); show()", "ftp://nowhere", tmp_path / "spool", LLMTRAIL_CONTENT="sometimes"
    )
    assert (stats["recorded"], stats["sent"], stats["adds_up"]) == (3, 0, True)
    assert list(tmp_path.rglob("*.seg"))


def test_a_spool_that_cannot_be_made_leaves_memory_and_network(gateway: Gateway, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    (stats,) = run("record(0, 30); assert llmtrail.flush(20); show()", gateway.url, blocked / "spool")
    assert (stats["sent"], stats["adds_up"]) == (30, True)
