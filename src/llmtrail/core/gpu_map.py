"""Say which GPUs answered a call, and when by their nodes' clocks. Pure: knows neither store nor configuration file.

What a call tells is its model, the server's address and its own host; what samples tell is node, pod and GPU. Between
them stand the deployments that the configuration names, else the names themselves.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import product
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.call import Call

_NS_PER_S: Final = 1_000_000_000
# Clocks of one installation that differ by more are broken and are told so; less is allowed for.
CLOCK_GAP_NS: Final = 5 * _NS_PER_S
# Collectors sample every 60 s at the rarest: as much before and after a call, one sample of each side is seen.
SAMPLE_GAP_NS: Final = 60 * _NS_PER_S
# What is sent at once is on the log within this.
WAY_NS: Final = 2 * _NS_PER_S
# Messages this far apart that came late by the same time were not kept back: what a spool held comes all at once.
_STEADY_NS: Final = 10 * _NS_PER_S
_WILD: Final = re.compile(r"[*?[]")
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})


class Told(StrEnum):
    """What tied a call to its GPUs."""

    CONFIG = "config"  # a deployment of the configuration
    ADDRESS = "address"  # the server's address is the node's name, or the address of a sampled model server
    POD = "pod"  # the server's address is the name of a pod, or of its service
    HOST = "host"  # the call itself ran on the node


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a model runs, and which calls are its. What is empty may be anything."""

    name: str
    address: str = ""
    model: str = ""
    hosts: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuPrice:
    """What an hour of one GPU costs, from a second (since 1970, UTC) until before another."""

    gpu: str  # the GPU's model, or the name of a deployment
    valid_from_s: int
    valid_to_s: int
    nanousd_per_hour: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call tells of where it ran."""

    model: str = ""
    address: str = ""  # server.address: a host or a whole URL
    port: int | None = None
    host: str = ""  # where the application ran


class _Server(msgspec.Struct):
    """What attributes tell of the server (`price_inputs.PRICE_ATTRIBUTES`); what else they hold is passed over."""

    address: Any = msgspec.field(name="server.address", default=None)
    port: Any = msgspec.field(name="server.port", default=None)


_SERVER: Final = json_decode.Decoder(_Server)
_NO_SERVER: Final = _Server()


def asked_of(call: Call) -> Asked:
    """Return what a call tells of where it ran."""
    try:
        server = _SERVER.decode(call.attributes) if call.attributes else _NO_SERVER
    except msgspec.DecodeError:  # no object
        server = _NO_SERVER
    address, port = server.address, server.port
    return Asked(
        call.request_model or call.response_model or "",
        address if isinstance(address, str) else "",
        port if isinstance(port, int) else int(port) if isinstance(port, str) and port.isdecimal() else None,
        call.host or "",
    )


@dataclass(frozen=True, slots=True)
class Place:
    """One thing that samples were told of: a GPU of a pod, or a model server."""

    host: str
    namespace: str = ""
    pod: str = ""
    gpu_uuid: str = ""
    gpu_index: int | None = None
    address: str = ""  # of a model server


@dataclass(frozen=True, slots=True)
class Target:
    """Where to look: nodes, and which of their GPUs and pods. Empty: all of them."""

    told: Told
    hosts: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    deployment: str = ""

    def holds(self, place: Place) -> bool:
        """Say whether a place is meant."""
        if self.hosts and place.host not in self.hosts:
            return False
        names = {place.gpu_uuid, "" if place.gpu_index is None else str(place.gpu_index)}
        # A model server has no GPU of its own to tell; its node and pod say whose it is.
        if self.gpus and place.gpu_uuid and names.isdisjoint(self.gpus):
            return False
        return not self.pods or any(fnmatchcase(place.pod, pattern) for pattern in self.pods)


def targets(asked: Asked, deployments: Iterable[Deployment], places: Collection[Place]) -> list[Target]:
    """Return where a call ran, by the surest thing known: configuration, address, pod, then its own host.

    `places` is what was sampled about that time; only the configuration may name nodes beyond them.
    """
    named = [
        Target(Told.CONFIG, one.hosts, one.gpus, one.pods, one.name) for one in deployments if _answers(one, asked)
    ]
    return named or _by_address(asked, places) or _by_pod(asked, places) or _by_host(asked, places)


@dataclass(frozen=True, slots=True)
class Sought:
    """Names by which places are looked for; one that bears such a name may yet be none of a call's."""

    nodes: frozenset[str] = frozenset()  # names of nodes in lower case, whole or up to the first dot
    servers: frozenset[str] = frozenset()  # what addresses of model servers contain
    pods: frozenset[str] = frozenset()  # what names of pods begin with

    def wants(self, place: Place) -> bool:
        """Say whether a place bears one of the names."""
        node, address = place.host.lower(), place.address.lower()
        return (
            node in self.nodes
            or node.partition(".")[0] in self.nodes
            or any(server in address for server in self.servers)
            or any(place.pod.startswith(begin) for begin in self.pods)
        )


def sought(calls: Iterable[Asked], deployments: Collection[Deployment]) -> Sought:
    """Return by which names the places of calls are found: `targets` and their nodes need no others."""
    nodes: set[str] = set()
    servers: set[str] = set()
    pods: set[str] = set()
    for asked in calls:
        named = [one for one in deployments if _answers(one, asked)]
        if named:
            # The configuration tells the nodes themselves, or leaves them to the pods.
            pods |= {_literal(pattern) for one in named if not one.hosts for pattern in one.pods or ("",)}
            continue
        server, own = _server(asked)[0], asked.host.lower()
        nodes |= {name if _is_number(name) else name.partition(".")[0] for name in (server, own) if name}
        if server:
            servers.add(server)
            pods.add(server.partition(".")[0])
    return Sought(frozenset(nodes), frozenset(servers), frozenset(pods))


def _literal(pattern: str) -> str:
    """Return what every text begins with that a pattern fits."""
    return _WILD.split(pattern, maxsplit=1)[0]


def _is_number(name: str) -> bool:
    return name.replace(".", "").isdigit()


def deployment_of(asked: Asked, deployments: Iterable[Deployment]) -> Deployment | None:
    """Return the one deployment that answered a call: of several, that which names its server most closely."""
    found = [one for one in deployments if _answers(one, asked)]
    return min(found, key=_breadth, default=None)


def _breadth(deployment: Deployment) -> tuple[bool, bool, bool, str]:
    host, port = host_port(deployment.address)
    return not host, port is None, not deployment.model, deployment.name


def _answers(deployment: Deployment, asked: Asked) -> bool:
    if not deployment.address and not deployment.model:
        return False  # It would take every call.
    if deployment.model and deployment.model != asked.model:
        return False
    if not deployment.address:
        return True
    wanted_host, wanted_port = host_port(deployment.address)
    host, port = _server(asked)
    return wanted_host == host and (wanted_port is None or wanted_port == port)


def _by_address(asked: Asked, places: Collection[Place]) -> list[Target]:
    host, port = _server(asked)
    if not host or host in _LOCAL:
        return []
    # The very server, if it is sampled: its node may run others beside it.
    servers = {
        (place.host, place.pod) for place in places if place.address and host_port(place.address) == (host, port)
    }
    if servers:
        pods = tuple(sorted({pod for _, pod in servers if pod}))
        return [Target(Told.ADDRESS, tuple(sorted({node for node, _ in servers})), pods=pods)]
    return [Target(Told.ADDRESS, nodes)] if (nodes := _nodes(host, places)) else []


def _by_pod(asked: Asked, places: Collection[Place]) -> list[Target]:
    """Take `pod`, `service.namespace` or `service.namespace.svc…`: a service's pods begin with its name."""
    name, _, rest = _server(asked)[0].partition(".")
    namespace = rest.partition(".")[0]
    if not name or name.isdigit():
        return []
    meant = {
        (place.host, place.pod)
        for place in places
        if place.pod
        and (place.pod == name or place.pod.startswith(f"{name}-"))
        and (not namespace or not place.namespace or place.namespace == namespace)
    }
    hosts = tuple(sorted({host for host, _ in meant}))
    return [Target(Told.POD, hosts, pods=tuple(sorted({pod for _, pod in meant})))] if meant else []


def _by_host(asked: Asked, places: Collection[Place]) -> list[Target]:
    server = _server(asked)[0]
    # An application on a GPU node that calls another server did not use the GPUs of its own.
    if server and server not in _LOCAL and server != asked.host.lower():
        return []
    nodes = _nodes(asked.host, places)
    return [Target(Told.HOST, nodes)] if nodes else []


def _nodes(name: str, places: Collection[Place]) -> tuple[str, ...]:
    """Return the sampled nodes of that name, with or without the domain."""
    wanted = name.lower()
    if not wanted:
        return ()  # Nobody knows where it ran, and a node that bears no name is not the answer.
    exact = {place.host for place in places if place.host.lower() == wanted}
    if exact or _is_number(wanted):
        return tuple(sorted(exact))
    short = wanted.partition(".")[0]
    found = {
        place.host for place in places if place.host.partition(".")[0].lower() == short and "." in wanted + place.host
    }
    # Two nodes of one short name are told apart by their domains only: better none than the wrong one.
    return tuple(found) if len(found) == 1 else ()


def _server(asked: Asked) -> tuple[str, int | None]:
    host, port = host_port(asked.address)
    return host, asked.port if port is None else port


def host_port(address: str) -> tuple[str, int | None]:
    """Return host and port of a host, host:port, [IPv6]:port or URL; ("", None) where it is none."""
    text = address.strip()
    if not text:
        return "", None
    if "//" not in text:
        bare_v6 = text.count(":") > 1 and not text.startswith("[")
        text = f"//[{text}]" if bare_v6 else f"//{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "", None
    if port is None:
        port = {"http": 80, "https": 443}.get(parts.scheme)
    return (parts.hostname or "").lower().rstrip("."), port


@dataclass(frozen=True, slots=True)
class Gap:
    """How far a clock is ahead of the log's: by `least_ns` to `most_ns`. Negative is behind."""

    least_ns: int
    most_ns: int

    @property
    def is_large(self) -> bool:
        """Say whether the clock is surely off by more than is allowed for."""
        return self.least_ns > CLOCK_GAP_NS or self.most_ns < -CLOCK_GAP_NS


def clock_gap(told_and_taken: Iterable[tuple[int, int]]) -> Gap | None:
    """Return how far a clock is off, from times that it told and when the log took each; None of nothing.

    The quickest of them says most: a clock is at least as far ahead as it was told before it was taken.
    """
    pairs = list(told_and_taken)
    if not pairs:
        return None
    lag = min(taken - told for told, taken in pairs)
    if lag > WAY_NS and not _is_steady(pairs, lag):
        # Kept back by a spool, or a clock that is behind: nobody knows which.
        return Gap(-min(lag, CLOCK_GAP_NS), CLOCK_GAP_NS)
    return Gap(-lag, WAY_NS - lag)


def _is_steady(pairs: Sequence[tuple[int, int]], lag: int) -> bool:
    """Say whether all came equally late over some time: a spool gives in bursts, a clock that is behind does not."""
    told = [at_ns for at_ns, _ in pairs]
    return max(told) - min(told) >= _STEADY_NS and all(taken - at_ns <= lag + WAY_NS for at_ns, taken in pairs)


@dataclass(frozen=True, slots=True)
class Window:
    """When a call was under way by a node's clock: between these, allowing for both clocks."""

    first_ns: int
    last_ns: int


def window(began_ns: int, ended_ns: int, call: Gap | None, node: Gap | None) -> Window:
    """Return when a call ran, by the clock of a node; where a clock was not measured, 5 s are allowed for it."""
    unknown = Gap(-CLOCK_GAP_NS, CLOCK_GAP_NS)
    app, there = call or unknown, node or unknown
    shifts = [there_ns - app_ns for app_ns, there_ns in product(_ends(app), _ends(there))]
    return Window(began_ns + min(shifts), max(began_ns, ended_ns) + max(shifts))


def _ends(gap: Gap) -> Sequence[int]:
    return gap.least_ns, gap.most_ns
