"""How a process ends is its application's business: handlers, exit status, time. Frozen ones and siblings too."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventually import eventually
from integration.emit_gateway import Gateway, Reply, running_gateway
from process_shapes import WORK, environment, next_process

_PREAMBLE = WORK + "import json, signal, threading\n"


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


def start(script: str, url: str, spool: Path, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _PREAMBLE + textwrap.dedent(script)],
        env={**environment(url, spool, 0), **more},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(script: str, url: str, spool: Path, **more: str) -> tuple[int, str]:
    process = start(script, url, spool, **more)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, out


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_handler_of_the_application_decides_how_it_ends(order: str, gateway: Gateway, tmp_path: Path) -> None:
    """Reported of coverage.py (#1599) and pytest-cov: a library's handler ran instead of the application's."""
    script = """
        def mine(number, frame):
            print("mine", flush=True)
            sys.exit(5)
        {before}
        record(0)
        {after}
        assert signal.getsignal(signal.SIGTERM) is mine
        os.kill(os.getpid(), signal.SIGTERM)
    """
    places = {"before": "", "after": "", order: "signal.signal(signal.SIGTERM, mine)"}
    assert run(script.format(**places), gateway.url, tmp_path) == (5, "mine\n")
    assert gateway.numbers() == [0]


def test_a_signal_that_is_ignored_stays_ignored(gateway: Gateway, tmp_path: Path) -> None:
    script = """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        record(0)
        os.kill(os.getpid(), signal.SIGTERM)
        print("lives")
    """
    assert run(script, gateway.url, tmp_path) == (0, "lives\n")


def test_a_framework_that_restores_and_raises_again_ends_as_before(gateway: Gateway, tmp_path: Path) -> None:
    """As uvicorn does: it takes the signal, shuts down, restores what it found and raises the signal once more."""
    script = """
        record(0)
        found = signal.signal(signal.SIGTERM, lambda *_: None)
        os.kill(os.getpid(), signal.SIGTERM)
        record(1)
        signal.signal(signal.SIGTERM, found)
        signal.raise_signal(signal.SIGTERM)
    """
    assert run(script, gateway.url, tmp_path)[0] == -signal.SIGTERM
    next_process(gateway.url, tmp_path)
    assert sorted(gateway.numbers()) == [0, 1]


@pytest.mark.parametrize("how", ["LLMTRAIL_SIGTERM", "LLMTRAIL_DISABLED", "configure"])
def test_ends_can_be_left_alone(how: str, gateway: Gateway, tmp_path: Path) -> None:
    script = """
        if os.environ.get("HOW") == "configure":
            llmtrail.configure(sigterm=False)
        record(0)
        caught = [line for line in open("/proc/self/status") if line.startswith("SigCgt")][0].split()[1]
        print(not int(caught, 16) >> 14 & 1, "llmtrail-ends" in [thread.name for thread in threading.enumerate()])
    """
    value = {"LLMTRAIL_SIGTERM": "off", "LLMTRAIL_DISABLED": "1"}.get(how, "1")
    assert run(script, gateway.url, tmp_path, **{"HOW": how, how: value}) == (0, "True False\n")


def test_a_handler_in_c_is_left_alone(gateway: Gateway, tmp_path: Path) -> None:
    """uWSGI's handlers are set by C, so that Python does not know of them."""
    script = """
        import ctypes
        libc = ctypes.CDLL(None)
        mine = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: os.write(1, b"mine ") and None)
        libc.signal(signal.SIGTERM, mine)
        record(0)
        os.kill(os.getpid(), signal.SIGTERM)
        print("lives")
    """
    assert run(script, gateway.url, tmp_path) == (0, "mine lives\n")


def test_sigterm_ends_a_process_whose_main_thread_never_comes_back_from_c(gateway: Gateway, tmp_path: Path) -> None:
    """As a worker of a pool that waits for a lock whose holder is gone: Python's own handlers would never run."""
    script = """
        import ctypes
        record(0)
        mutex = ctypes.create_string_buffer(64)
        libc = ctypes.CDLL(None)
        libc.pthread_mutex_lock(mutex)
        print("waits", flush=True)
        libc.pthread_mutex_lock(mutex)
    """
    process = start(script, gateway.url, tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    assert process.wait(timeout=20) == -signal.SIGTERM
    process.communicate()
    next_process(gateway.url, tmp_path)
    assert gateway.numbers() == [0]


@pytest.mark.parametrize(
    ("module", "question"), [("gevent.monkey", "is_module_patched"), ("eventlet.patcher", "is_monkey_patched")]
)
def test_where_threads_are_green_none_of_ours_waits_for_a_pipe(
    module: str, question: str, gateway: Gateway, tmp_path: Path
) -> None:
    """One that waits in the system stops all the others of its worker (gunicorn -k gevent)."""
    package, _, name = module.partition(".")
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / f"{name}.py").write_text(f"def {question}(what): return what in ('threading', 'thread')")
    script = f"""
        import {module}
        record(0)
        assert llmtrail.flush(10)
        print("llmtrail-ends" in [thread.name for thread in threading.enumerate()])
    """
    assert run(script, gateway.url, tmp_path / "spool", PYTHONPATH=str(tmp_path)) == (0, "False\n")


def test_a_signal_of_a_childs_is_the_childs_alone(gateway: Gateway, tmp_path: Path) -> None:
    """Children inherit handlers and pipes: heard by way of them, their end would be the parent's."""
    script = """
        record(0)
        for _ in range(50):
            child = os.fork()
            if child == 0:
                time.sleep(60)
            os.kill(child, signal.SIGTERM)
            assert os.waitpid(child, 0)[1] == signal.SIGTERM
        print("lives")
    """
    assert run(script, gateway.url, tmp_path) == (0, "lives\n")


def test_programs_that_a_process_starts_have_the_default(gateway: Gateway, tmp_path: Path) -> None:
    script = """
        import subprocess
        record(0)
        ask = "import signal; print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
        print(subprocess.check_output([sys.executable, "-c", ask], text=True), end="")
    """
    assert run(script, gateway.url, tmp_path) == (0, "True\n")


def test_sigterm_inside_the_recorder_itself_ends_the_process(gateway: Gateway, tmp_path: Path) -> None:
    """Python runs handlers between any two instructions: one that needs what the main thread holds would never end."""
    script = """
        import itertools
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        for n in itertools.count():
            record(n)
            llmtrail.stats()
    """
    process = start(script, gateway.url, tmp_path)
    assert process.wait(timeout=20) == -signal.SIGTERM
    process.communicate()


def test_a_sandbox_frozen_after_its_answer_has_sent_its_calls(gateway: Gateway, tmp_path: Path) -> None:
    """AWS Lambda: nothing runs after the answer, and the sandbox with its disk may never run again (Langfuse #3292)."""
    script = """
        for n in range(3):
            in_request(n)
        print("answered", flush=True)
        sys.stdin.read()
    """
    process = start(script, gateway.url, tmp_path / "gone", AWS_LAMBDA_FUNCTION_NAME="f")
    assert process.stdout is not None
    assert process.stdout.readline() == "answered\n"
    process.send_signal(signal.SIGSTOP)
    assert gateway.numbers() == [0, 1, 2]
    process.kill()
    process.communicate()


@pytest.mark.parametrize("place", ["K_SERVICE", "FUNCTION_TARGET", "FUNCTIONS_WORKER_RUNTIME", "LLMTRAIL_SYNC"])
def test_an_asynchronous_request_is_sent_at_its_end_and_blocks_no_loop(
    place: str, gateway: Gateway, tmp_path: Path
) -> None:
    script = """
        import asyncio
        async def main():
            ticks = []
            async def tick():
                while True:
                    ticks.append(1)
                    await asyncio.sleep(0.001)
            ticking = asyncio.create_task(tick())
            await asyncio.sleep(0)
            async with llmtrail.request(request_id="outer"):
                async with llmtrail.request(feature="inner"):
                    record(0)
                record(1)
            stats = llmtrail.stats()
            print(stats.sent_accepted, stats.spooled_pending, stats.queued, len(ticks) > 1)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
    """
    assert run(script, gateway.url, tmp_path, **{place: "x"}) == (-9, "2 0 0 True\n")


def test_a_frozen_place_waits_no_longer_where_the_gateway_is_known_to_be_away(tmp_path: Path) -> None:
    with running_gateway() as gone:
        url = gone.url
    script = """
        in_request(0)
        began = time.monotonic()
        for n in range(20):
            in_request(n)
        print(time.monotonic() - began < 15)
    """
    assert run(script, url, tmp_path, LLMTRAIL_SYNC="1") == (0, "True\n")


def test_a_living_sibling_sends_what_a_killed_worker_left(gateway: Gateway, tmp_path: Path) -> None:
    gateway.behaviour = lambda events, size: Reply(503, b"", {"Retry-After": "300"})
    victim = start(
        "for n in range(1, 5): record(n)\nprint('done', flush=True)\nsys.stdin.read()", gateway.url, tmp_path
    )
    assert victim.stdout is not None
    victim.stdout.readline()
    eventually(lambda: gateway.requests)
    with running_gateway() as healthy:
        sibling = start("record(0)\nprint('done', flush=True)\nsys.stdin.read()", healthy.url, tmp_path)
        assert sibling.stdout is not None
        sibling.stdout.readline()
        eventually(lambda: healthy.numbers() == [0])
        victim.kill()
        victim.communicate()
        eventually(lambda: sorted(healthy.numbers()) == [0, 1, 2, 3, 4])
        sibling.communicate("")


def test_a_forked_child_uses_no_connection_of_its_parents(gateway: Gateway, tmp_path: Path) -> None:
    """Two processes on one socket read each other's answers (Sentry's and PostHog's workers after a fork)."""
    script = """
        record(0)
        assert llmtrail.flush(10)
        children = []
        for child in (1, 2, 3):
            pid = os.fork()
            if pid == 0:
                for n in range(10):
                    record(100 * child + n)
                    assert llmtrail.flush(10)
                assert llmtrail.stats().sent_accepted == 10
                os._exit(0)
            children.append(pid)
        for n in range(1, 10):
            record(n)
            assert llmtrail.flush(10)
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    """
    assert run(script, gateway.url, tmp_path)[0] == 0
    expected = [*range(10), *range(100, 110), *range(200, 210), *range(300, 310)]
    assert sorted(event["attributes"]["n"] for event in gateway.accepted) == expected


def test_a_subinterpreter_keeps_its_calls(gateway: Gateway, tmp_path: Path) -> None:
    interpreters = pytest.importorskip("_xxsubinterpreters") if sys.version_info < (3, 12) else None
    if interpreters is None:
        script = "record(0)"  # The SDK's JSON codecs load in no interpreter of its own lock.
    else:
        script = f"""
        import _xxsubinterpreters
        one = _xxsubinterpreters.create()
        _xxsubinterpreters.run_string(one, {WORK + "record(0)"!r})
        _xxsubinterpreters.destroy(one)
        """
    assert run(script, gateway.url, tmp_path)[0] == 0
    next_process(gateway.url, tmp_path)
    assert gateway.numbers() == [0]


def test_a_warning_names_the_address_and_the_spool(tmp_path: Path) -> None:
    with running_gateway() as gone:
        url = gone.url
    process = start("record(0)\nllmtrail.flush(1)", url, tmp_path)
    _, err = process.communicate(timeout=60)
    assert f"llmtrail: cannot reach {url} (ConnectionRefusedError). Calls are saved in {tmp_path}" in err
    assert err.count("cannot reach") == 1


def test_a_warning_of_another_kind_is_told_too(gateway: Gateway, tmp_path: Path) -> None:
    answers = iter([Reply(503, b""), Reply(401, b"")])
    gateway.behaviour = lambda events, size: next(answers, Reply())
    process = start("record(0)\nassert llmtrail.flush(10)", gateway.url, tmp_path)
    _, err = process.communicate(timeout=60)
    assert "answered HTTP 503" in err
    assert "refused the token (HTTP 401): check LLMTRAIL_TOKEN" in err


def test_bound_functions_keep_the_request_in_threads_and_tasks(gateway: Gateway, tmp_path: Path) -> None:
    script = """
        import asyncio, concurrent.futures
        async def later(n): return record(n)
        with concurrent.futures.ThreadPoolExecutor(4) as pool, llmtrail.request(request_id="r-1"):
            work, work_async = llmtrail.bind(record), llmtrail.bind(later)
            thread = threading.Thread(target=work, args=(0,))
            thread.start()
            list(pool.map(work, range(1, 20)))
            pool.submit(asyncio.run, work_async(20)).result()
            thread.join()
        record(99)
        assert llmtrail.flush(10)
        print(llmtrail.stats().without_request)
    """
    assert run(script, gateway.url, tmp_path) == (0, "1\n")
    requests = {event["attributes"]["n"]: event.get("request_id") for event in gateway.accepted}
    assert requests == {**dict.fromkeys(range(21), "r-1"), 99: None}


def test_the_guide_of_workers_runs_as_it_stands(gateway: Gateway, tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs/guide/workers.md").read_text()
    blocks = [block.split("```")[0] for block in guide.split("```python\n")[1:]]
    before = """
from types import SimpleNamespace
def answer(question): llmtrail.record(request_model="m", attributes={"n": len(question)})
def summarise(text): record(0)
"""
    after = """
handler({"text": "long"}, SimpleNamespace(aws_request_id="aws-1"))
print(llmtrail.stats().sent_accepted, llmtrail.stats().without_request)
"""
    assert len(blocks) == 2
    script = before + "".join(blocks) + after
    process = subprocess.run(
        [sys.executable, "-c", _PREAMBLE + script],
        env={**environment(gateway.url, tmp_path, 0), "LLMTRAIL_SYNC": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stdout) == (0, "3 0\n"), process.stderr
    assert {event["request_id"] for event in gateway.accepted} == {"aws-1", "r-42"}
