"""One keep-alive HTTP connection to the gateway, through the system's proxy. Knows nothing of what is asked there."""

import base64
import http.client
import os
import socket
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from llmtrail.client_tls import TlsFileError, client_context
from llmtrail.config import SYSTEM_TLS, ClientConfig
from llmtrail.core.addresses import crosses_plain, is_loopback
from llmtrail.emit.tally import LOGGER

# 500 rejections with their details fit many times over, and so does a page of limits.
_ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
# A connection kept alive may have been closed over there; that says nothing of the gateway, so it is tried once more.
_STALE: Final = (http.client.RemoteDisconnected, http.client.CannotSendRequest, BrokenPipeError, ConnectionResetError)
# The address that was warned of: once a process is enough.
_warned: list[str] = []


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes
    retry_after: str | None


class Connection:
    """Asks paths below one address. Not for several threads at once, except `abort`."""

    def __init__(self, url: str, token: str | None, timeout_s: float, tls: ClientConfig = SYSTEM_TLS) -> None:
        """Take the address. Raises ValueError for one that cannot work, or certificates that cannot be read."""
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(
                f"LLMTRAIL_URL {url!r} is no http or https address; write for example http://127.0.0.1:4318"
            )
        self._parts = parts
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._timeout_s = timeout_s
        self.is_loopback = is_loopback(self._host)
        self._tls = tls
        _check_transport(url, parts.scheme, token, tls)
        self._proxy = None if self.is_loopback else _proxy_for(parts.scheme, self._host)
        self._headers = {"User-Agent": "llmtrail-python"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connection: http.client.HTTPConnection | None = None
        self._pid = os.getpid()

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        """Send one request and return the answer. Raises OSError or http.client.HTTPException when none came."""
        if self._pid != os.getpid():
            # The socket is the parent's: two processes on one would read each other's answers.
            self._pid = os.getpid()
            self.close()
        was_kept = self._connection is not None
        try:
            return self._exchange(method, path, body, headers)
        except _STALE:
            self.close()
            if not was_kept:
                raise
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        try:
            return self._exchange(method, path, body, headers)
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next question opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """Have a thread that waits for an answer get an error at once; for another thread."""
        connection = self._connection
        found = connection.sock if connection is not None else None
        if found is not None:
            # It may have been closed in between; then nobody waits.
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        connection = self._connection or self._connect()
        self._connection = connection
        target = self._parts.path.rstrip("/") + path
        headers = {**self._headers, **headers}
        if self._proxy is not None and self._parts.scheme == "http":
            target = f"http://{self._parts.netloc.rpartition('@')[2]}{target}"
            headers = {**headers, **_proxy_headers(self._proxy)}
        connection.request(method, target, body=body, headers=headers)
        response = connection.getresponse()
        answer = response.read(_ANSWER_BYTES_MAX)
        if response.will_close or not response.isclosed():
            self.close()
        return Reply(response.status, answer, response.headers.get("Retry-After"))

    def _connect(self) -> http.client.HTTPConnection:
        is_tls = self._parts.scheme == "https"
        host, port = self._host, self._port
        if self._proxy is not None:
            host, port = self._proxy.hostname or "", self._proxy.port or 8080
        if not is_tls:
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        # Anew for each connection: files may have been renewed.
        context = client_context(self._tls)
        connection = http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=context)
        if self._proxy is not None:
            connection.set_tunnel(self._host, self._port, headers=_proxy_headers(self._proxy))
        return connection


def _check_transport(url: str, scheme: str, token: str | None, tls: ClientConfig) -> None:
    """Raise ValueError for certificates that cannot be used; warn, once a process, where others may read the token."""
    if scheme == "https" and tls != SYSTEM_TLS:
        try:
            client_context(tls)
        except TlsFileError as error:
            raise ValueError(str(error)) from error
    if token and crosses_plain(url) and not _warned:
        _warned.append(url)
        LOGGER.warning(
            "llmtrail sends its token, prompts and answers in plain HTTP to %s, where others may read them: "
            "use https:// (LLMTRAIL_URL, and LLMTRAIL_CA for a CA of your own).",
            urlsplit(url if "//" in url else f"//{url}").hostname,
        )


def _proxy_for(scheme: str, host: str) -> SplitResult | None:
    """Return the system's proxy for a remote host, or None."""
    address = urllib.request.getproxies().get(scheme)
    if not address or urllib.request.proxy_bypass(host):
        return None
    return urlsplit(address if "//" in address else f"//{address}", scheme="http")


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}
