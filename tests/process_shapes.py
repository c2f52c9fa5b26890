"""Scripts of applications that end in ways applications really end, for tests and the bench of what survives them.

Each script records the calls `0..COUNT-1` (the attribute `n`), in the process shape that its name says. `LEFT_OVER` is
the application's next process: it sends what is left in the spool.
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Final

WORK: Final = """
import os, sys, time
import llmtrail

def record(n):
    llmtrail.record(request_model="m", messages=[{"role": "user", "content": "hello " * 50}], attributes={"n": n})
    return n

def in_request(n):
    with llmtrail.request(request_id=f"r-{n}") as request:
        record(n)
        request.parser("ok", value=n)
    return n
"""
_MAIN: Final = """
import multiprocessing, os, signal, sys, threading, time
import concurrent.futures
import llmtrail
from work import record, in_request
COUNT = int(os.environ["COUNT"])
"""
_POOL: Final = """
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    with context.Pool(3{more}) as pool:
        assert pool.map(in_request, range(COUNT), chunksize=3) == list(range(COUNT))
"""
_EXECUTOR: Final = """
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    with concurrent.futures.ProcessPoolExecutor(3, context) as pool:
        assert list(pool.map(record, range(COUNT))) == list(range(COUNT))
"""
# Name -> script, and the exit status that the application has without us.
SHAPES: Final[Mapping[str, tuple[str, int]]] = {
    "a pool, forked": (_POOL.format(method="fork", more=""), 0),
    "a pool, spawned": (_POOL.format(method="spawn", more=""), 0),
    "a pool under the forkserver": (_POOL.format(method="forkserver", more=""), 0),
    "a pool whose workers do one task each": (_POOL.format(method="fork", more=", maxtasksperchild=1"), 0),
    "an executor, forked": (_EXECUTOR.format(method="fork"), 0),
    "an executor, spawned": (_EXECUTOR.format(method="spawn"), 0),
    "SIGTERM without a handler": ("for n in range(COUNT): record(n)\nos.kill(os.getpid(), signal.SIGTERM)", -15),
    "SIGTERM in an open request": (
        "with llmtrail.request(feature='f'):\n    for n in range(COUNT): record(n)\n    os.kill(os.getpid(), 15)",
        -15,
    ),
    "SIGTERM while other threads record": (
        """
        llmtrail.configure(service="threads")  # as `wrap` does: only the main thread may set a signal's handler
        threads = [threading.Thread(target=lambda i=i: [record(n) for n in range(i, COUNT, 4)]) for i in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        os.kill(os.getpid(), signal.SIGTERM)
        """,
        -15,
    ),
    "os._exit": ("for n in range(COUNT): record(n)\nos._exit(7)", 7),
    "os._exit in a thread": (
        "for n in range(COUNT): record(n)\nthreading.Thread(target=os._exit, args=(7,)).start()\ntime.sleep(60)",
        7,
    ),
    "a child that leaves by os._exit": (
        "record(0)\nif os.fork() == 0:\n    for n in range(1, COUNT): record(n)\n    os._exit(0)\nos.wait()",
        0,
    ),
    "a script that ends at once": ("for n in range(COUNT): record(n)", 0),
    "a script that raises": ("for n in range(COUNT): record(n)\nraise SystemExit(3)", 3),
    "a daemon thread": (
        """
        def work():
            for n in range(COUNT): record(n)
            done.set()
            time.sleep(60)
        done = threading.Event()
        threading.Thread(target=work, daemon=True).start()
        done.wait()
        """,
        0,
    ),
    "exec in its place": (
        "for n in range(COUNT): record(n)\nos.execlp('true', 'true')",
        0,
    ),
    "kill -9 a moment later": (
        "for n in range(COUNT): record(n)\ntime.sleep(MOMENT_S)\nos.kill(os.getpid(), signal.SIGKILL)",
        -9,
    ),
    "kill -9 a moment later in an open request": (
        """
        with llmtrail.request(feature="f") as request:
            for n in range(COUNT): record(n)
            request.parser("ok", value="known")
            time.sleep(MOMENT_S)
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        -9,
    ),
}
LEFT_OVER: Final = "import llmtrail, time\nassert llmtrail.flush(20), llmtrail.stats()\n"


def prepared(folder: Path, shape: str, moment_s: float) -> list[str]:
    """Write a shape's script into a folder and return its command."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "work.py").write_text(WORK)
    script = folder / "application.py"
    script.write_text(_MAIN + f"MOMENT_S = {moment_s}\n" + textwrap.dedent(SHAPES[shape][0]))
    return [sys.executable, str(script)]


def environment(url: str, spool: Path, count: int) -> dict[str, str]:
    """Return the environment of an application that sends to `url`."""
    return {**os.environ, "LLMTRAIL_URL": url, "LLMTRAIL_SPOOL": str(spool), "COUNT": str(count)}


def next_process(url: str, spool: Path) -> None:
    """Run the application's next process, which sends what the former left."""
    values = environment(url, spool, 0)
    subprocess.run([sys.executable, "-c", LEFT_OVER], env=values, check=True, capture_output=True, timeout=60)
