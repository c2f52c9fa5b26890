"""TLS on our own ports: one certificate for all of them, taken up anew when its files change. Knows no port.

A new pair is loaded into a context of its own and tried in a handshake in memory; new connections then use that
context, and those that are open keep theirs. A pair that cannot be used changes nothing.
"""

import logging
import ssl
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmtrail.client_tls import PEM_END, no_password
from llmtrail.config import ClientAuth, ConfigError, ServerConfig
from llmtrail.core.addresses import is_loopback
from llmtrail.metrics import TLS_CERTIFICATE_EXPIRY, TLS_CERTIFICATE_REFUSED, Metrics

_LOG = logging.getLogger(__name__)

PLAIN = (
    "tokens and prompts cross the network in plain HTTP to %s: set server.tls_certificate and server.tls_key, "
    "or let TLS end in front of llmtrail and keep the way behind it private."
)

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME: the trial is to tell when a certificate ends, also one that has.
_NO_CHECK_TIME = 0x20_0000
# A handshake in memory takes two rounds with TLS 1.3 and three with 1.2.
_ROUNDS_MAX = 8
_OTHERS = stat.S_IRWXO | stat.S_IWGRP


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key, as it was tried: the files' bytes, a context, and when it ends."""

    certificate: bytes
    key: bytes
    client_ca: bytes
    context: ssl.SSLContext
    names: tuple[str, ...]
    not_after_s: int


class ServerTls:
    """The pair in force. Safe from several threads."""

    def __init__(self, server: ServerConfig) -> None:
        """Load the pair; raises ConfigError, with what to do."""
        self._server = server
        self._lock = threading.Lock()
        self._files = _fingerprint(server)
        self.pair = load_pair(server)
        self.failure = ""  # why a changed pair is not used
        self._front = _context(server)
        _load(self._front, server)
        self._front.sni_callback = self._choose

    @property
    def context(self) -> ssl.SSLContext:
        """Return the context to listen with."""
        return self._front

    def current(self) -> Pair:
        """Return the pair for a new connection: that of the files as they are now, where it can be used."""
        files = _fingerprint(self._server)
        if files != self._files and self._lock.acquire(blocking=False):
            try:
                self._take_up(files)
            finally:
                self._lock.release()
        return self.pair

    def _take_up(self, files: object) -> None:
        self._files = files
        try:
            pair = load_pair(self._server)
        except ConfigError as error:
            self.failure = str(error)
            _LOG.error("the former certificate stays in use: %s", error)
            return
        if pair.certificate != self.pair.certificate:
            _LOG.warning("a new certificate for %s is in use", ", ".join(pair.names))
        self.pair, self.failure = pair, ""

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        # OpenSSL asks at every handshake, whether or not the client names a host.
        connection.context = self.current().context


def server_tls(server: ServerConfig) -> ServerTls | None:
    """Return the TLS of this process's ports, None where they speak plain HTTP; raises ConfigError."""
    if server.tls_certificate is not None:
        return ServerTls(server)
    for name in ("tls_key", "tls_client_ca"):
        if getattr(server, name) is not None:
            raise ConfigError(f"server.{name} needs server.tls_certificate.")
    if not is_loopback(server.host):
        _LOG.warning(PLAIN, server.host)
    return None


def measure_tls(tls: ServerTls | None, metrics: Metrics) -> None:
    """Bring the metrics of the certificate up to now."""
    if tls is not None:
        metrics.set(TLS_CERTIFICATE_EXPIRY, tls.current().not_after_s)
        metrics.set(TLS_CERTIFICATE_REFUSED, bool(tls.failure))


def load_pair(server: ServerConfig) -> Pair:
    """Return the configured pair once a handshake with it went well; raises ConfigError, with what to do."""
    certificate, key = _files_of(server)
    _check_private(key)
    certificate_pem, key_pem = _read(certificate, "tls_certificate"), _read(key, "tls_key")
    client_ca = _read(server.tls_client_ca, "tls_client_ca") if server.tls_client_ca else b""
    context = _context(server)
    _load(context, server)
    leaf, end, _ = certificate_pem.decode("ascii", "replace").partition(PEM_END)
    found = _tried(context, leaf + end, str(certificate))
    if certificate_pem != _read(certificate, "tls_certificate") or key_pem != _read(key, "tls_key"):
        raise ConfigError(f"server.tls_certificate: {certificate} changed while it was read; it is read again.")
    return Pair(certificate_pem, key_pem, client_ca, context, _names(found), _end_s(found))


def _context(server: ServerConfig) -> ssl.SSLContext:
    """Return a context with Python's defaults (TLS 1.2 and up), and the authorities of clients' certificates."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if server.tls_client_ca is not None:
        try:
            context.load_verify_locations(server.tls_client_ca)
        except OSError as cause:
            raise ConfigError(f"server.tls_client_ca: {server.tls_client_ca} holds no certificates in PEM.") from cause
        required = server.tls_client_auth is ClientAuth.REQUIRED
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        # A session that is resumed is not verified again: it would outlive its authority. TLS 1.2 resumes by itself.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
    return context


def _load(context: ssl.SSLContext, server: ServerConfig) -> None:
    certificate, key = _files_of(server)
    try:
        context.load_cert_chain(certificate, key, no_password)
    except OSError as cause:
        raise ConfigError(
            f"server.tls_certificate and tls_key: {certificate} and {key} are no pair in PEM without a password "
            f"({getattr(cause, 'reason', None) or cause.strerror or cause})."
        ) from cause


def _tried(context: ssl.SSLContext, leaf: str, file: str) -> Mapping[str, object]:
    """Return the certificate as a client decodes it, after a handshake in memory; raises ConfigError."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client_context.load_verify_locations(cadata=leaf)
        client = client_context.wrap_bio(to_client, to_server)
        server = context.wrap_bio(to_server, to_client, server_side=True)
        if _is_done(client, server):
            return client.getpeercert() or {}
    except (ssl.SSLError, ValueError) as cause:
        reason = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or cause
        raise ConfigError(f"server.tls_certificate: {file} cannot serve TLS ({reason}).") from cause
    raise ConfigError(f"server.tls_certificate: {file} cannot serve TLS (no handshake).")


def _is_done(client: ssl.SSLObject, server: ssl.SSLObject) -> bool:
    """Whether the client's side of the handshake ended well; what it would show itself is not asked."""
    for _ in range(_ROUNDS_MAX):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            return True
        try:
            server.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return False


def _files_of(server: ServerConfig) -> tuple[Path, Path]:
    certificate = server.tls_certificate
    if certificate is None:
        raise ConfigError("server.tls_certificate is not set.")
    return certificate, server.tls_key or certificate


def _read(file: Path, setting: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as cause:
        raise ConfigError(f"server.{setting}: cannot read {file} ({cause.strerror}).") from cause


def _check_private(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as cause:
        raise ConfigError(f"server.tls_key: cannot read {key} ({cause.strerror}).") from cause
    if mode & _OTHERS:
        raise ConfigError(
            f"server.tls_key: {key} may be read or written by others (mode {stat.S_IMODE(mode):04o}); "
            f"run `chmod 600 {key}` (Kubernetes: `defaultMode: 0440`)."
        )


def _fingerprint(server: ServerConfig) -> object:
    """Return what changes when one of the files is written or replaced, by rename or by symbolic link."""
    found = []
    for file in (server.tls_certificate, server.tls_key, server.tls_client_ca):
        try:
            known = file.stat() if file is not None else None
        except OSError:
            known = None
        found.append(known and (known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns, known.st_ctime_ns))
    return tuple(found)


def _names(found: Mapping[str, object]) -> tuple[str, ...]:
    entries = found.get("subjectAltName", ())
    return tuple(str(value) for _, value in entries) if isinstance(entries, tuple) else ()


def _end_s(found: Mapping[str, object]) -> int:
    return ssl.cert_time_to_seconds(str(found["notAfter"]))
