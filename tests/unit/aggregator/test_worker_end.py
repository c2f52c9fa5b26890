"""A worker whose supervisor is gone ends, also where Faust does not."""

import subprocess
import sys

HANGS = """
import signal
from llmtrail_aggregator.worker import end_with_parent
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
end_with_parent(0.1)
"""


def test_a_worker_that_hangs_does_not_outlive_its_supervisor() -> None:
    with subprocess.Popen([sys.executable, "-c", HANGS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"up\n"
        assert worker.poll() is None
        worker.stdin.close()
        assert worker.wait(20) == 1
