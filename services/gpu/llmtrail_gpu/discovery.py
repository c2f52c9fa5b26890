"""Finds targets: configuration, a file_sd list, and the pods of this node by Kubernetes' API server.

A source that fails keeps what it told last: a broken file or an API server that is away must not end the watch.
"""

import json
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from llmtrail_gpu.fetch import FetchError, Request, fetch
from llmtrail_gpu.targets import TARGETS_MAX, Target, TargetsError, file_targets, merged, named_targets, pod_targets

_LOG = logging.getLogger(__name__)

# A list of 256 targets takes 50 kB.
FILE_BYTES_MAX: Final = 1024 * 1024
# 500 pods of a node, each told in full, take 5 MB; one that has more is over Kubernetes' own limits.
PODS_BYTES_MAX: Final = 16 * 1024 * 1024
PODS_MAX: Final = 500
API_DEADLINE_S: Final = 10.0

Source = Callable[[], list[Target]]


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file_sd list."""

    path: Path

    def __call__(self) -> list[Target]:
        """Return its targets. Raises OSError or TargetsError."""
        with self.path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise TargetsError(f"over {FILE_BYTES_MAX} bytes")
        return file_targets(text)


@dataclass(frozen=True, slots=True)
class PodSource:
    """The pods of one node, as the API server tells them to the service account in `account`."""

    url: str
    node: str
    account: Path

    def __call__(self) -> list[Target]:
        """Return their targets. Raises OSError, FetchError or TargetsError."""
        # The token is renewed on disk while the process runs.
        token = (self.account / "token").read_text(encoding="ascii").strip()
        selector = quote(f"spec.nodeName={self.node},status.phase=Running", safe="")
        fetched = fetch(
            Request(
                f"{self.url.rstrip('/')}/api/v1/pods?fieldSelector={selector}&limit={PODS_MAX}",
                API_DEADLINE_S,
                PODS_BYTES_MAX,
                {"Authorization": f"Bearer {token}", "Accept": "application/json"},
                self._context,
            )
        )
        if fetched.error:
            raise FetchError(fetched.error)
        try:
            document = json.loads(fetched.page)
        except (ValueError, RecursionError) as cause:
            raise TargetsError("the API server's answer is no JSON") from cause
        return pod_targets(document if isinstance(document, dict) else {})

    def _context(self) -> ssl.SSLContext:
        authority = self.account / "ca.crt"
        return ssl.create_default_context(cafile=authority if authority.is_file() else None)


@dataclass(slots=True)
class Discovery:
    """Asks every source, and remembers what each told last. Not for several threads at once."""

    urls: tuple[str, ...]
    sources: dict[str, Source]
    faults: dict[str, str] = field(default_factory=dict)
    _last: dict[str, list[Target]] = field(default_factory=dict)
    _beyond: int = 0

    def targets(self) -> list[Target]:
        """Return what is to be read now; `faults` tells which sources failed. Raises TargetsError for `urls`."""
        for name, source in self.sources.items():
            try:
                self._last[name] = source()
            except (OSError, FetchError, TargetsError, ValueError) as error:
                if self.faults.get(name) != str(error):
                    _LOG.warning("targets of %s stay as they were: %s", name, error)
                self.faults[name] = str(error) or type(error).__name__
            else:
                self.faults.pop(name, None)
        found, beyond = merged([named_targets(self.urls), *self._last.values()])
        if beyond and beyond != self._beyond:
            _LOG.warning("%d targets beyond the first %d are not read", beyond, TARGETS_MAX)
        self._beyond = beyond
        return found
