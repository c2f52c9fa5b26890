"""The process's one recorder: made at first use from the environment, closed at exit, made anew in forked children.

Composition only: the parts are made elsewhere and put together here.
"""

import atexit
import os
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import RLock
from typing import Any, Unpack

from llmtrail import variables
from llmtrail.clock import SystemClock, random_bytes
from llmtrail.core.call import Call
from llmtrail.core.redact_find import FINDER
from llmtrail.emit import ends
from llmtrail.emit.background import Edges
from llmtrail.emit.by_hand import build_by_hand
from llmtrail.emit.config import DEFAULT_CONTENT, DEFAULT_LIMITS, EmitConfig, Settings, from_environment, overlaid
from llmtrail.emit.content import policy_of
from llmtrail.emit.context import REQUEST_NAMES, Request, RequestFields, current_request, make_request
from llmtrail.emit.door import Recorder, when_begun
from llmtrail.emit.endpoint import Endpoint, Nowhere
from llmtrail.emit.handoff import Builder
from llmtrail.emit.kafka import KafkaPoster
from llmtrail.emit.limits import LimitsMode, mode_of
from llmtrail.emit.names import tell_misspelt
from llmtrail.emit.sender import Poster
from llmtrail.emit.snapshot import snapshot
from llmtrail.emit.tally import LOGGER, Stats

__all__ = [
    "Builder",
    "Recorder",
    "configure",
    "flush",
    "get_recorder",
    "limits_known",
    "record",
    "replace_recorder",
    "request",
    "stats",
]

FLUSH_TIMEOUT_S = 5.0
# What a request waits for its calls to be taken, where the process is frozen after it.
_SYNC_TIMEOUT_S = 2.0
_FIELDS = frozenset(Call.__struct_fields__)

# The one place where the SDK's hot path gets its time from.
_now_ns = time.time_ns
_lock = RLock()
_recorder: Recorder | None = None
# Every recorder that may have threads or files, so that a fork and the exit reach them all.
_live: "weakref.WeakSet[Recorder]" = weakref.WeakSet()


def get_recorder() -> Recorder:
    """Return the process's recorder; ask at each call, since configuring and testing replace it."""
    return _recorder or _make_first()


def replace_recorder(recorder: Recorder | None) -> Recorder | None:
    """Put another recorder in place and return the former one, still open; None makes one anew at the next use."""
    global _recorder  # One per process is what this module is for.
    with _lock:
        former, _recorder = _recorder, recorder
        if recorder is not None:
            _live.add(recorder)
    return former


def configure(**settings: Unpack[Settings]) -> None:
    """Send from now on as told; what is left out comes from the environment.

    Takes `url`, or `kafka` (brokers) with `kafka_prefix`, `kafka_client` and `kafka_client_file`; `token`, `ca` (a file
    of authorities), `client_certificate`, `client_key`, `spool` (a folder, or None for memory only), `content` (full,
    redacted, hash, none), `limits` (open, closed, off), `policy` (a file), `disabled`, `service`, `environment`,
    `release`, `sync` (send before a request's block ends), `sigterm` (False leaves SIGTERM and `os._exit` alone). What
    was recorded before is sent or spooled.
    Raises ValueError for a setting that cannot work, ImportError where Kafka's driver is not installed, and changes
    nothing then.
    """
    _tell_misspelt_variables()
    config = overlaid(from_environment(), **settings)
    poster = _poster(config)
    if isinstance(poster, KafkaPoster) and not config.disabled:
        poster.connect()
    recorder = _with_poster(config, poster)
    former = replace_recorder(recorder)
    if not config.sigterm:
        ends.leave_alone()
    if former is not None:
        former.close()


def request(**fields: Unpack[RequestFields]) -> Request:
    """Return a block (`with` or `async with`) whose calls carry these fields; blocks nest and inherit."""
    if not fields.keys() <= REQUEST_NAMES:
        tell_misspelt(fields.keys() - REQUEST_NAMES, REQUEST_NAMES, "llmtrail.request")
    return make_request(_note, _sending, **fields)


def record(**event: Any) -> None:
    """Record one call by hand, for clients that are not wrapped.

    Takes the fields of a call event; a model is required. Never raises: a bad event is counted and logged once.
    """
    try:
        if not event.keys() <= _FIELDS:
            tell_misspelt(event.keys() - _FIELDS, _FIELDS, "llmtrail.record")
        parts, size_bytes = snapshot(event)
        started_at_ns = _now_ns()
        get_recorder().record_parts(build_by_hand, (parts, started_at_ns), started_at_ns, current_request(), size_bytes)
    except Exception as error:  # noqa: BLE001  # The SDK never raises into the application.
        LOGGER.warning("llmtrail could not record: %r", error)


def flush(timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
    """Wait until everything recorded before has left, at most `timeout_s` seconds; say whether it has.

    False means that calls wait, in memory or in the spool; none of them is lost.
    """
    return get_recorder().flush(timeout_s)


def limits_known(timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
    """Begin to listen for limits, wait until they are known, at most `timeout_s` seconds; say whether they are.

    Nobody needs to call it: it is for a start that shall not make a call before, as with LLMTRAIL_LIMITS=closed.
    """
    return get_recorder().limits.wait_until_known(timeout_s)


def stats() -> Stats:
    """Return what became of everything recorded in this process, by reason."""
    return get_recorder().stats()


def _note(request: Request, kind: Any, fields: dict[str, Any]) -> None:
    get_recorder().note(request, kind, fields)


def _sending() -> Callable[[], object] | None:
    """Return what sends all at a request's end, or None where the background does that in its own time."""
    recorder = get_recorder()
    return partial(recorder.flush, _SYNC_TIMEOUT_S, is_patient=False) if recorder.config.sync else None


def _mind_ends(recorder: Recorder) -> None:
    if recorder.config.sigterm:
        ends.mind(_drain_all)


def _drain_all(timeout_s: float) -> None:
    for recorder in list(_live):
        recorder.drain(timeout_s)


def _make_first() -> Recorder:
    with _lock:
        if _recorder is None:
            _tell_misspelt_variables()
            replace_recorder(_compose_safely(from_environment()))
        assert _recorder is not None  # noqa: S101  # Just put there, under the lock.
        return _recorder


def _tell_misspelt_variables() -> None:
    for name, meant in variables.misspelt(os.environ):
        LOGGER.warning("llmtrail: %s", variables.sentence(name, meant))


def _compose(config: EmitConfig) -> Recorder:
    """Put a recorder together. Raises ValueError for an address or a content policy that cannot work."""
    return _with_poster(config, _poster(config))


def _poster(config: EmitConfig) -> Poster:
    return KafkaPoster(config, SystemClock()) if config.kafka else Endpoint(config.url, config.token, tls=config.tls)


def _compose_safely(config: EmitConfig) -> Recorder:
    """Put a recorder together from the environment: what is wrong there must not stop the application."""
    try:
        mode_of(config.limits)
    except ValueError as error:
        LOGGER.warning("llmtrail lets calls through while limits are unknown: %s", error)
        config = replace(config, limits=DEFAULT_LIMITS)
    try:
        return _compose(config)
    except ValueError as error:
        LOGGER.warning("llmtrail sends nothing and keeps calls in its spool, redacted: %s", error)
        return _with_poster(replace(config, content=DEFAULT_CONTENT, limits=LimitsMode.OFF), Nowhere())


def _with_poster(config: EmitConfig, poster: Poster) -> Recorder:
    return Recorder(config, Edges(SystemClock(), random_bytes, poster, policy_of(config.content)))


def _at_exit() -> None:
    for recorder in list(_live):
        recorder.close()
    ends.leave_alone()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  # Another thread of the parent may have held it.
    _lock = RLock()
    ends.after_fork_in_child()
    FINDER.renew()
    for recorder in list(_live):
        recorder.after_fork()
    _close_with_multiprocessing()


def _close_with_multiprocessing() -> None:
    """Have a child of `multiprocessing` close at its end: it leaves by os._exit, which runs no atexit handler."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # The child forgets the finalizers made before it began; these hooks run after that.
        util.register_after_fork(_live, lambda _recorders: _finalize(util))


def _finalize(util: Any) -> None:
    util.Finalize(None, _at_exit, exitpriority=0)


def _register() -> None:
    atexit.register(_at_exit)
    when_begun.append(_mind_ends)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=ends.before_fork,
            after_in_parent=ends.after_fork_in_parent,
            after_in_child=_after_fork_in_child,
        )
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    # Imported for the first time inside such a child, as under the forkserver.
    if util is not None and process is not None and process.parent_process() is not None:
        _finalize(util)


_register()
