"""What an IP address stands for: loopback, a client, or what no outgoing request may reach. Pure: resolves no name."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What is refused though a name resolves to it. Private ranges and loopback are not here: a self-hosted Alertmanager or
# an exporter of this node lives there.
_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), what)
    for network, what in (
        ("169.254.0.0/16", "link-local, where clouds serve credentials"),
        ("fe80::/10", "link-local"),
        ("100.100.100.200/32", "a metadata address (Alibaba Cloud)"),
        ("192.0.0.192/32", "a metadata address (Oracle Cloud)"),
        ("168.63.129.16/32", "a metadata address (Azure)"),
        ("fd00:ec2::/32", "a metadata address (AWS)"),
        ("fd20:ce::254/128", "a metadata address (Google Cloud)"),
        ("fd00:c1::a9fe:a9fe/128", "a metadata address (Oracle Cloud)"),
        ("fd00:42::42/128", "a metadata address (Scaleway)"),
        ("0.0.0.0/8", "no address of a server"),
        ("::/128", "no address of a server"),
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
        ("255.255.255.255/32", "broadcast"),
    )
)
_EMBEDS_LAST_32 = (
    ip_network("::ffff:0:0/96"),  # IPv4-mapped
    ip_network("::/96"),  # IPv4-compatible
    ip_network("::ffff:0:0:0/96"),  # IPv4-translated (SIIT)
    ip_network("64:ff9b::/96"),  # NAT64
    ip_network("64:ff9b:1::/48"),  # NAT64 of one's own
)
# A host is given at least so many addresses of IPv6: they are one client.
_IPV6_PREFIX = 64
_SIX_TO_FOUR, _TEREDO = ip_network("2002::/16"), ip_network("2001::/32")
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
_LAST_32 = 0xFFFF_FFFF
# A part of an IPv4 address as C's inet_aton reads it: hexadecimal, octal or decimal.
_PART = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
# What IDNA takes for a dot.
_DOTS = str.maketrans(dict.fromkeys("\u3002\uff0e\uff61", "."))


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return addresses and networks in CIDR notation. Raises ValueError for one that is neither."""
    return tuple(ip_network(text.strip(), strict=False) for text in texts)


def refusal(address: Address, allowed: Sequence[Network] = ()) -> str:
    """Return why no outgoing request may go to `address`, "" where one may. An IPv4 address inside counts as itself."""
    for one in (address, *_embedded(address)):
        if any(one in network for network in allowed if network.version == one.version):
            continue
        for network, what in _REFUSED:
            if network.version == one.version and one in network:
                return f"{one} is {what}"
    return ""


def literal_address(host: str) -> Address | None:
    """Return the address that `host` writes out, in any form that resolvers read; None where it is a name."""
    text = unicodedata.normalize("NFKC", unquote(host)).translate(_DOTS).strip("[]")
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return _inet_aton(text.rstrip("."))


def literal_refusal(url: str, allowed: Sequence[Network] = ()) -> str:
    """Return why no outgoing request may go to `url`, as far as its host is an address and no name; else ""."""
    try:
        address = literal_address(urlsplit(url).hostname or "")
    except ValueError:
        return ""
    return "" if address is None else refusal(address, allowed)


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine, as far as its name or address says so."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def crosses_plain(url: str) -> bool:
    """Whether what is sent to `url` crosses a network that others may listen to, without TLS."""
    parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that a translator or tunnel would send an IPv6 packet to."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if any(address in network for network in _EMBEDS_LAST_32) or (number >> 32) & _LAST_32 in _ISATAP:
        yield IPv4Address(number & _LAST_32)
    if address in _EMBEDS_LAST_32[-1]:
        # A prefix of 48 bits leaves bits 64 to 71 empty (RFC 6052).
        yield IPv4Address((number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF)
    if address in _SIX_TO_FOUR:
        yield IPv4Address(number >> 80 & _LAST_32)
    if address in _TEREDO:
        yield IPv4Address(~number & _LAST_32)


def _inet_aton(text: str) -> IPv4Address | None:
    parts = text.split(".")
    if not 1 <= len(parts) <= 4 or not all(_PART.fullmatch(part) for part in parts):
        return None
    try:
        numbers = [_number(part) for part in parts]
    except ValueError:
        return None
    *firsts, last = numbers
    if any(number > 0xFF for number in firsts) or last >= 1 << 8 * (4 - len(firsts)):
        return None
    return IPv4Address(sum(number << 24 - 8 * place for place, number in enumerate(firsts)) + last)


def _number(part: str) -> int:
    if part[:2] in {"0x", "0X"}:
        return int(part[2:] or "0", 16)
    return int(part, 8 if part.startswith("0") else 10)


def client_of(address: str) -> str:
    """Return whom a client address belongs to: of IPv6 the network that one host has, else the address itself."""
    if ":" not in address:
        return address
    try:
        found = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((found, _IPV6_PREFIX), strict=False))
