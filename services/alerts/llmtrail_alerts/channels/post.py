"""Post to one configured address, and say what is known of the outcome. Knows no kind of channel.

Redirects are not followed, certificates are checked, the environment's proxies and passwords are not taken: a request
goes to the address that `owners.toml` names, or nowhere; and to none that is link-local or serves a cloud's metadata.
"""

import logging
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

import httpcore
import httpx

from llmtrail.core.addresses import parse_networks
from llmtrail.outgoing import AddressRefusedError, AddressRule, resolve
from llmtrail_alerts.channels.port import Answer, Channel, Outcome
from llmtrail_alerts.text import one_line

# Rules name channels; none is where clouds serve credentials.
ADDRESSES = AddressRule("alerts.allowed_addresses")
ANSWER_BYTES_MAX = 65_536  # targets answer in a line; what comes after is not for us
DETAIL_CHARS_MAX = 300  # of a target's own words that are kept
_NS = 1_000_000_000

# It would write whole addresses into logs, and an incoming webhook's address is its password.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a target answered: its code, the beginning of its body, and how long we are to wait."""

    code: int
    body: bytes
    retry_after_s: float | None

    @property
    def words(self) -> str:
        """Return the answer on one line."""
        return one_line(f"{self.code} {self.body.decode('utf-8', 'replace')}", DETAIL_CHARS_MAX)


def address_rule(allowed: Iterable[str]) -> AddressRule:
    """Return the rule for channels that may reach these networks too. Raises ValueError for one that is none."""
    return replace(ADDRESSES, allowed=parse_networks(allowed))


def new_client(channel: Channel, addresses: AddressRule = ADDRESSES) -> httpx.Client:
    """Return a client for one channel. Raises OSError or ssl.SSLError where its ca_file cannot be used."""
    context = ssl.create_default_context(cafile=str(channel.ca_file) if channel.ca_file else None)
    return httpx.Client(
        timeout=channel.timeout_s,
        transport=_Transport(context, channel.proxy.reveal(), addresses),
        follow_redirects=False,  # a target must not send our alert, or its signature, elsewhere
        trust_env=False,
        headers={"user-agent": "llmtrail"},
    )


class _Transport(httpx.HTTPTransport):
    """Connects to addresses that a rule allows. Through a proxy that is the proxy's: the target's it alone resolves."""

    def __init__(self, context: ssl.SSLContext, proxy: str, addresses: AddressRule) -> None:
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            proxy=httpcore.Proxy(proxy, auth=_credentials(proxy)) if proxy else None,
            # One thread sends; a connection that is kept may be half dead after a pause, so it is not kept long.
            max_connections=1,
            max_keepalive_connections=1,
            keepalive_expiry=15.0,
            network_backend=_Backend(addresses),
        )


class _Backend(httpcore.SyncBackend):
    """Opens connections to checked addresses."""

    def __init__(self, addresses: AddressRule) -> None:
        self._addresses = addresses

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Return a connection to the first address of `host` that answers. Raises AddressRefusedError."""
        try:
            found = resolve(host, port, self._addresses)
        except AddressRefusedError:
            raise
        except OSError as cause:
            raise httpcore.ConnectError(str(cause)) from cause
        *others, last = found
        for address in others:
            try:
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return super().connect_tcp(last, port, timeout, local_address, socket_options)


def _credentials(proxy: str) -> tuple[str, str] | None:
    parts = urlsplit(proxy)
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def post(client: httpx.Client, url: str, body: bytes, headers: dict[str, str], now_ns: int) -> Reply | Answer:
    """Post the body; return the reply, or an answer where there was none. Raises nothing."""
    try:
        with client.stream("POST", url, content=body, headers=headers) as response:
            return Reply(
                response.status_code, _beginning(response), retry_after_s(response.headers.get("retry-after"), now_ns)
            )
    except AddressRefusedError as error:
        return Answer(Outcome.REFUSED, f"nothing was sent: {error}")
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
        # Not one byte of the request left. The error's own text may name the address, so only its kind is told.
        return Answer(Outcome.NOT_DELIVERED, f"no connection ({type(error).__name__})")
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, ValueError) as error:
        return Answer(Outcome.REFUSED, f"the channel's address cannot be used ({type(error).__name__})")
    except (httpx.HTTPError, OSError) as error:
        # It may have arrived, and only the answer was lost.
        return Answer(Outcome.UNKNOWN, f"no answer ({type(error).__name__})")


def judge(reply: Reply) -> Answer:
    """Return what an answer means by HTTP's own words: 2xx done, 429 and 408 later, 5xx unknown, all else refused."""
    if 200 <= reply.code < 300:
        return Answer(Outcome.DELIVERED, reply.words)
    if reply.code in {408, 425, 429}:
        return Answer(Outcome.NOT_DELIVERED, reply.words, reply.retry_after_s)
    if reply.code >= 500:
        # A server that fails may have failed after the message was shown, or may not have been the target at all.
        return Answer(Outcome.UNKNOWN, reply.words, reply.retry_after_s)
    return Answer(Outcome.REFUSED, reply.words)


def retry_after_s(header: str | None, now_ns: int) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or as a date; None where it says nothing."""
    if not header:
        return None
    text = header.strip()
    if text.isdecimal() and text.isascii():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now_ns / _NS, 0.0)
    except (ValueError, OverflowError):
        return None


def _beginning(response: httpx.Response) -> bytes:
    """Return the first bytes of the body, so that an endless one fills no memory."""
    found = b""
    for chunk in response.iter_bytes():
        found += chunk
        if len(found) >= ANSWER_BYTES_MAX:
            break
    return found[:ANSWER_BYTES_MAX]
