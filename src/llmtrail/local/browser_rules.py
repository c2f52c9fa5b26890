"""Decide which requests of browsers are answered, and what answers forbid them. Pure; knows no routes."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from llmtrail.config import ConfigError, ServerConfig
from llmtrail.core.outcome import Refusal

# A name of DNS has 253 characters at most; brackets and a port come on top.
HOST_BYTES_MAX = 270
# A handful of names is asked for; whoever makes more up only pushes them out.
_HOSTS_KEPT = 1_024
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-f.]*:[0-9a-f:.]*)\]|(?P<name>[a-z0-9_.-]+))(?P<port>:[0-9]{1,5})?")
_NAME = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_PORTS = {"http": ":80", "https": ":443"}
# Methods that change nothing; a browser sends any other but POST to another origin only after it asked (preflight).
_READS = frozenset({"GET", "HEAD"})
# What no page can send to another origin without asking first. Whatever else a body is called, a form may have sent it.
BODY_TYPES = frozenset(
    {
        *(b"application/json", b"application/x-protobuf", b"application/protobuf"),
        *(b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/x-jsonlines"),
    }
)
# Headers that a page cannot add to a request to another origin without asking first.
_ASKED_FOR = (b"x-clickhouse-key", b"x-clickhouse-user")
# Every request header that a decision reads.
READ = frozenset(
    {
        *(b"host", b"origin", b"user-agent", b"accept-language", b"content-type", b"upgrade", b"authorization"),
        *(b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"access-control-request-method"),
        *_ASKED_FOR,
    }
)

_API_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Of every answer, unless the application itself says otherwise.
ANSWER_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"content-security-policy": _API_POLICY.encode(),
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
    b"cache-control": b"no-store",
}
PAGE_POLICY = _PAGE_POLICY.encode()
# Who may ask from another origin may send and read these.
_PREFLIGHT_HEADERS = (
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (
        b"access-control-allow-headers",
        (
            b"Authorization, Content-Type, Content-Encoding, X-ClickHouse-User, X-ClickHouse-Key, "
            b"X-ClickHouse-Database, X-ClickHouse-Format"
        ),
    ),
    (b"access-control-max-age", b"600"),
    # Chromium's question before a page of the internet reaches a private address.
    (b"access-control-allow-private-network", b"true"),
    (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
)
_EXPOSED = (
    b"Retry-After, X-ClickHouse-Query-Id, X-ClickHouse-Format, X-ClickHouse-Summary, X-ClickHouse-Timezone, "
    b"X-ClickHouse-Exception-Code"
)


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a request that is turned away."""

    status: int
    reason: Refusal
    detail: str


@dataclass(frozen=True, slots=True)
class BrowserRules:
    """What one port answers to browsers."""

    # Names that it may be asked by, besides loopback names and addresses; None: any name.
    hosts: tuple[str, ...] | None
    # Origins whose pages may ask.
    origins: frozenset[bytes] = frozenset()
    # Paths, or beginnings of paths that end in a slash, which links of other sites may open as a page of their own.
    linked: tuple[str, ...] = ()
    # Whether what is posted must be of BODY_TYPES: posting there changes something.
    typed_bodies: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as far as decisions go: `headers` are those of READ, joined where one came twice."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]


def gateway_rules(server: ServerConfig) -> BrowserRules:
    """Return the rules of the port that takes events and answers look-ups; raises ConfigError."""
    return BrowserRules(_hosts(server), _origins(server), linked=("/", "/v1/requests/"))


def sql_rules(server: ServerConfig) -> BrowserRules:
    """Return the rules of the SQL port; raises ConfigError. Its clients post statements under any content type."""
    return BrowserRules(_hosts(server), _origins(server), typed_bodies=False)


def refused(asked: Asked, rules: BrowserRules) -> Refused | None:
    """Return why the request is turned away, or None where it may be answered."""
    headers = asked.headers
    host = headers.get(b"host", b"")
    unknown = _host_refusal(host, rules.hosts)
    if unknown is not None:
        return unknown
    if headers.get(b"upgrade", b"").strip().lower() == b"websocket":
        return Refused(400, Refusal.WEBSOCKET, "No WebSocket is spoken here; send plain requests.")
    if not _is_near(asked, host, rules):
        return Refused(403, Refusal.ORIGIN, _foreign_words(headers))
    if asked.method == "POST" and rules.typed_bodies and _essence(headers) not in BODY_TYPES:
        detail = (
            "Say what the body is: add `Content-Type: application/json` (or application/x-ndjson for one event a line, "
            "application/x-protobuf for OTLP); with curl: -H 'Content-Type: application/json'."
        )
        return Refused(415, Refusal.CONTENT_TYPE, detail)
    return None


def is_preflight(asked: Asked) -> bool:
    """Whether a browser asks what a page of another origin may send."""
    return asked.method == "OPTIONS" and b"access-control-request-method" in asked.headers


def shared_with(asked: Asked, rules: BrowserRules) -> bytes | None:
    """Return the foreign origin whose page may read the answer, or None."""
    origin = asked.headers.get(b"origin")
    return origin if origin in rules.origins else None


def sharing_headers(origin: bytes | None, *, preflight: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer where some origins are allowed: caches must keep origins apart in any case."""
    if origin is None:
        return [(b"vary", b"Origin")]
    allowed = (b"access-control-allow-origin", origin)
    if preflight:
        return [allowed, *_PREFLIGHT_HEADERS]
    return [allowed, (b"access-control-expose-headers", _EXPOSED), (b"vary", b"Origin")]


def _is_near(asked: Asked, host: bytes, rules: BrowserRules) -> bool:
    """Whether no page of a foreign origin is behind the request."""
    headers = asked.headers
    origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
    if origin is not None and origin in rules.origins:
        return headers.get(b"sec-fetch-mode", b"cors") == b"cors"
    if site is not None:
        # A page cannot write this header, and the browser knows which address it really asks, proxies or not.
        return site in {b"same-origin", b"none"} or _is_link(asked, rules)
    if origin is not None:
        return _is_same(origin, host)
    if not _is_browser(headers):
        return True
    # A browser that says neither: an old one, or over plain HTTP to another machine.
    return _is_preflighted(asked) or (asked.method in _READS and _is_linked(asked.path, rules))


def _is_browser(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser sends this: each names itself so and the user's languages, which no page can prevent."""
    return headers.get(b"user-agent", b"").startswith(b"Mozilla/") and b"accept-language" in headers


def _is_preflighted(asked: Asked) -> bool:
    """Whether the request carries what a page cannot send to another origin without asking first."""
    headers = asked.headers
    return (
        headers.get(b"authorization", b"")[:7].lower() == b"bearer "
        or any(name in headers for name in _ASKED_FOR)
        or (asked.method == "POST" and _essence(headers) in BODY_TYPES)
    )


def _is_link(asked: Asked, rules: BrowserRules) -> bool:
    headers = asked.headers
    return (
        asked.method in _READS
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest") == b"document"
        and _is_linked(asked.path, rules)
    )


def _is_linked(path: str, rules: BrowserRules) -> bool:
    return any(path == known or (len(known) > 1 and path.startswith(known)) for known in rules.linked)


def _is_same(origin: bytes, host: bytes) -> bool:
    scheme, _, place = origin.lower().partition(b"://")
    port = _PORTS.get(scheme.decode("latin-1"), "").encode()
    own = host.lower()
    return bool(port) and place in {own, own.removesuffix(port)}


def _essence(headers: Mapping[bytes, bytes]) -> bytes:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _foreign_words(headers: Mapping[bytes, bytes]) -> str:
    if b"origin" not in headers and b"sec-fetch-site" not in headers:
        return (
            "This browser does not say which page asks, as over plain HTTP to another machine: use https, "
            "or send a token as `Authorization: Bearer …`."
        )
    return "Pages of other origins are not answered; if this one is yours, name its origin in server.allowed_origins."


def _host_refusal(host: bytes, hosts: tuple[str, ...] | None) -> Refused | None:
    if len(host) > HOST_BYTES_MAX:
        return Refused(400, Refusal.HOST, "The Host header is no name.")
    return _judged_host(host, hosts)


@lru_cache(maxsize=_HOSTS_KEPT)
def _judged_host(host: bytes, hosts: tuple[str, ...] | None) -> Refused | None:
    found = _HOST.fullmatch(host.decode("latin-1").lower())
    if found is None:
        return Refused(400, Refusal.HOST, "Send one Host header: a name or address, and the port.")
    if hosts is None:
        return None
    name = (found["six"] or found["name"]).removesuffix(".")
    if _is_own_name(name) or _is_address(name) or any(_fits(name, known) for known in hosts):
        return None
    # A page can have its own name lead to this machine; it cannot have the browser say another name.
    return Refused(
        421, Refusal.HOST, "Asked by a name that is not this server's; if it is, add it to server.allowed_hosts."
    )


def _is_own_name(name: str) -> bool:
    """Whether resolvers lead the name to the machine that asks, and nowhere else."""
    return name == "localhost" or name.endswith(".localhost")


def _is_address(name: str) -> bool:
    """Whether it is an address: nobody can lead that elsewhere. The unspecified one leads pages of others here."""
    try:
        return not ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False


def _fits(name: str, known: str) -> bool:
    return name.endswith(known[1:]) if known.startswith("*") else name == known


def _hosts(server: ServerConfig) -> tuple[str, ...] | None:
    """Return the allowed names: beyond loopback, where a token is asked for, all unless some are named."""
    own = server.host.strip("[]").lower()
    if not server.allowed_hosts and not _is_own_name(own) and not _is_loopback(own):
        return None
    named = tuple(name.lower().removesuffix(".") for name in server.allowed_hosts)
    for name in named:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"server.allowed_hosts: {name!r} is no name; write llmtrail.example.com or *.example.com, no port."
            )
    return (own, *named)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _origins(server: ServerConfig) -> frozenset[bytes]:
    return frozenset(_checked_origins(server.allowed_origins))


def _checked_origins(origins: Iterable[str]) -> Iterable[bytes]:
    for origin in origins:
        parts = urlsplit(origin)
        if (
            parts.scheme not in _PORTS
            or f"{parts.scheme}://{parts.netloc}" != origin
            or not _HOST.fullmatch(parts.netloc)
        ):
            raise ConfigError(
                f"server.allowed_origins: {origin!r} is no origin; write https://grafana.example.com, "
                "in lower case, with its port unless it is the usual one."
            )
        yield origin.removesuffix(_PORTS[parts.scheme]).encode()
