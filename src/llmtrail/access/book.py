"""The tokens in force: read at the start, read again when a file of theirs changes. Knows no request."""

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from llmtrail.access.load import load_tokens, secret_files, tokens_file_of
from llmtrail.clock import SystemClock
from llmtrail.config import Config, ConfigError
from llmtrail.core.access import token_changes
from llmtrail.core.access.authenticate import Tokens
from llmtrail.core.access.grant import TokenScope
from llmtrail.core.audit import AuditRow
from llmtrail.private_files import file_owner

_LOG = logging.getLogger(__name__)

# A revoked token is refused within two seconds; a look at a few files costs microseconds.
POLL_S = 0.5
_STOP_S = 2.0
_CLOCK = SystemClock()

_Stamp = tuple[tuple[str, int, int, int, int, int] | None, ...]


class TokenBook:
    """The tokens of the configuration and its files. One thread looks for changes, any may ask.

    Files that cannot be used change nothing: the former tokens stay in force, and `failure` says why.
    """

    def __init__(
        self,
        config: Config,
        keep: Callable[[Iterable[AuditRow]], None] = lambda _: None,
        now_ns: Callable[[], int] = _CLOCK.now_ns,
    ) -> None:
        """Read the tokens; `keep` takes the rows of the audit that later changes make. Raises ConfigError."""
        self._config = config
        self._keep = keep
        self._now_ns = now_ns
        self._files = tuple(secret_files(config))
        self._stamp = self._stamped()
        self._tokens = load_tokens(config)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmtrail-tokens", daemon=True)
        self.failure = ""

    def tokens(self) -> Tokens:
        """Return the tokens in force."""
        return self._tokens

    def has(self, scope: TokenScope) -> bool:
        """Whether any token allows `scope`."""
        return any(secret.grant.allows(scope) for secret in self._tokens.secrets)

    def start(self) -> None:
        """Begin to look for changes."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join(_STOP_S)

    def poll(self) -> None:
        """Take up changed files, if any."""
        if self._stamped() == self._stamp:
            return
        # What is written meanwhile shows in the next look: files are looked at before they are read.
        self._files, former = tuple(secret_files(self._config)), self._stamp
        self._stamp = self._stamped()
        at_ns = self._changed_ns(former)
        try:
            self._take(load_tokens(self._config), at_ns)
        except ConfigError as error:
            self._refuse(str(error), at_ns)

    def _take(self, tokens: Tokens, at_ns: int) -> None:
        if tokens.anyone is not None and self._tokens.anyone is None:
            # A file that is gone by mistake must not open what it closed.
            self._refuse("no token is left; restart without tokens if that is meant.", at_ns)
            return
        rows = token_changes.changes(self._tokens, tokens, self._actor(), at_ns)
        self._tokens, self.failure = token_changes.with_revoked(self._tokens, tokens), ""
        self._keep(rows)
        _LOG.info("%d secrets of tokens are in force", len(tokens.secrets))

    def _refuse(self, why: str, at_ns: int) -> None:
        self.failure = f"the tokens as they were before stay in force: {why}"
        _LOG.error("%s", self.failure)
        self._keep([token_changes.refused(why, self._actor(), at_ns)])

    def _actor(self) -> str:
        return file_owner(tokens_file_of(self._config))

    def _changed_ns(self, former: _Stamp) -> int:
        """Return when a file was written last, which is the same for every process that reads it; else the time."""
        written = [one[3] for one in self._stamp if one is not None and one not in former]
        return max(written, default=0) or self._now_ns()

    def _run(self) -> None:
        while not self._stopped.wait(POLL_S):
            try:
                self.poll()
            except Exception as error:  # noqa: BLE001 - the loop's edge: whatever a file system does, the former tokens hold.
                self._refuse(f"they cannot be read: {error}", self._now_ns())
                _LOG.exception("tokens could not be read again")

    def _stamped(self) -> _Stamp:
        """Return what tells that a file was changed or replaced, without reading its secret."""
        return tuple(_stamp_of(file) for file in self._files)


def _stamp_of(file: Path) -> tuple[str, int, int, int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    # Renewed mounts are other files under the same link; a change of mode alone shows in the change time.
    return (str(file), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode)
