"""A fork may come at any moment of the background's work: nothing that it holds then may hold up the child."""

import os
import threading

import pytest

from eventually import eventually
from llmtrail.core.redact import ContentPolicy, redact_json
from llmtrail.core.redact_find import FINDER
from llmtrail.emit import recorder  # noqa: F401  # It is what minds forks.

_TEXT = b'{"a": "' + b"call me at 12-34 or mail to a b c; password is unknown. " * 20_000 + b'"}'


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # What is tested here.
@pytest.mark.skipif(FINDER.place is None, reason="RE2 is not installed")
def test_a_child_forked_while_another_thread_redacts_redacts_too() -> None:
    """RE2 guards what it learns of texts by a lock of its own, which the child would wait for (re2, `dfa.cc`)."""
    is_over = threading.Event()

    def redact() -> None:
        while not is_over.is_set():
            FINDER.renew()
            redact_json(_TEXT, ContentPolicy.REDACTED)

    busy = threading.Thread(target=redact)
    busy.start()
    try:
        children = [child for _ in range(40) if (child := _forked()) is not None]
    finally:
        is_over.set()
        busy.join()
    assert children
    ended: dict[int, int] = {}

    def all_ended() -> bool:
        for child in children:
            if child not in ended and (found := os.waitpid(child, os.WNOHANG))[0]:
                ended[child] = found[1]
        return len(ended) == len(children)

    try:
        eventually(all_ended, 30)
    finally:
        for child in set(children) - set(ended):
            os.kill(child, 9)
            os.waitpid(child, 0)
    assert set(ended.values()) == {0}


def _forked() -> int | None:
    child = os.fork()
    if child:
        return child
    try:
        redact_json(_TEXT[:2_000] + b'"}', ContentPolicy.REDACTED)
    finally:
        os._exit(0)
