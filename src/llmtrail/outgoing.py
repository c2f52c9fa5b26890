"""Connect to addresses that settings and rules name, and to no link-local or metadata address. Knows no protocol.

What a name resolves to is checked, and exactly that address is connected to: a name that resolves to something else the
next moment (DNS rebinding) gains nothing.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from llmtrail.core.addresses import Network, literal_address, refusal


class AddressRefusedError(OSError):
    """No connection was tried; the text says why and which setting would allow it."""


@dataclass(frozen=True, slots=True)
class AddressRule:
    """Which of the refused networks are allowed, and the setting that allows them."""

    setting: str
    allowed: Sequence[Network] = ()


def resolve(host: str, port: int, rule: AddressRule) -> list[str]:
    """Return the addresses of `host` that may be connected to.

    Raises AddressRefusedError where it has only others, OSError where it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as cause:
        raise OSError("the host name cannot be resolved") from cause
    addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
    refused = ""
    reachable = []
    for text in addresses:
        address = literal_address(text)
        why = refusal(address, rule.allowed) if address is not None else f"{text} is no IP address"
        refused = refused or why
        if not why:
            reachable.append(text)
    if not reachable:
        raise AddressRefusedError(f"{refused}; where it is meant, add it to {rule.setting}")
    return reachable


def connect(host: str, port: int, timeout_s: float | None, rule: AddressRule) -> socket.socket:
    """Return a connection to the first address of `host` that answers. Raises as `resolve` does, and OSError."""
    last: OSError | None = None
    for address in resolve(host, port, rule):
        try:
            connected = socket.create_connection((address, port), timeout_s)
        except OSError as cause:
            last = cause
            continue
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected
    assert last is not None  # noqa: S101 - there was an address, and it did not answer.
    raise last
