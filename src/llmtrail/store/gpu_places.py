"""Which GPUs there were, and which deployments run on which: small tables, read whole. Knows no call."""

from collections.abc import Collection, Iterable, Sequence
from itertools import product

import pyarrow as pa

from llmtrail.core.gpu_map import Deployment, GpuPrice, Place, Sought, host_port
from llmtrail.store import arrow
from llmtrail.store.gpu import texts
from llmtrail.store.handle import Handle

_TEXT = pa.string()
# A thousand nodes of eight GPUs, each of a pod that moved once a day.
PLACES_MAX = 20_000
# The engine refuses to search for more texts at once.
NEEDLES_MAX = 255
# It takes a statement of 262,144 characters; of more names all places are read, which costs no more by then.
_NAMED_CHARS_MAX = 200_000
_PLACE_TEXTS = ("host", "namespace", "pod", "gpu_uuid", "address")


def insert_places(handle: Handle, places: Iterable[tuple[int, Place]], token: str) -> None:
    """Insert places, each with its day (since 1970, UTC); what stands there already is one row."""
    told = list(places)
    if not told:
        return
    columns = {
        "day": pa.array([day for day, _ in told], pa.int32()).cast(pa.date32()),
        **{name: pa.array([getattr(place, name) for _, place in told], _TEXT) for name in _PLACE_TEXTS},
        "gpu_index": pa.array([place.gpu_index for _, place in told], pa.uint16()),
    }
    handle.insert_arrow("llmtrail.gpu_places_data", pa.table(columns), f"{token}:places")


def stored_places(handle: Handle, days: Collection[int], sought: Sought) -> list[Place]:
    """Return what was sampled on these days (since 1970, UTC) and bears one of these names; of very many names, all."""
    named = _named(sought)
    if not days or not named:
        return []
    listed = ", ".join(f"toDate({day})" for day in sorted(set(days)))
    rows = handle.query(
        "SELECT DISTINCT host, namespace, pod, gpu_uuid, gpu_index, address FROM llmtrail.gpu_places_data "  # noqa: S608
        f"PREWHERE day IN ({listed}) AND ({named}) LIMIT {PLACES_MAX}"
    )
    return [Place(*row) for row in rows]


def _named(sought: Sought) -> str:
    """Return the condition that `Sought.wants` is."""
    told = []
    if sought.nodes:
        nodes = texts(sought.nodes)
        told += [f"lower(host) IN ({nodes})", f"substringIndex(lower(host), '.', 1) IN ({nodes})"]
    servers = sorted(sought.servers)
    for first in range(0, len(servers), NEEDLES_MAX):
        told.append(f"multiSearchAny(lower(address), [{texts(servers[first : first + NEEDLES_MAX])}])")
    told += [f"startsWith(pod, {texts([begin])})" for begin in sorted(sought.pods)]
    named = " OR ".join(told)
    return named if len(named) <= _NAMED_CHARS_MAX else "1"


def keep_deployments(handle: Handle, deployments: Sequence[Deployment], now_ns: int) -> bool:
    """Make these the deployments of the store; return whether they were others before."""
    wanted = sorted({row for one in deployments for row in _rows(one)})
    if wanted == sorted(_stored(handle)):
        return False
    # No deployment at all is told by a row without a name.
    told = wanted or [("",) * len(_NAMES)]
    columns: dict[str, arrow.Column] = {
        name: pa.array([row[place] for row in told], _TEXT) for place, name in enumerate(_NAMES)
    }
    columns["version"] = pa.array([now_ns] * len(told), pa.uint64())
    handle.insert_arrow("llmtrail.gpu_deployments_data", pa.table(columns), f"deployments:{now_ns}")
    return True


def keep_gpu_prices(handle: Handle, prices: Sequence[GpuPrice], now_ns: int) -> bool:
    """Make these the prices of GPU hours in the store; return whether they were others before."""
    wanted = sorted((one.gpu, one.valid_from_s, one.valid_to_s, one.nanousd_per_hour) for one in prices)
    stored = handle.query(
        "SELECT gpu, toUnixTimestamp(valid_from), toUnixTimestamp(valid_to), nanousd_per_hour FROM llmtrail.gpu_prices"
    )
    if wanted == sorted(tuple(row) for row in stored):
        return False
    told = wanted or [("", 0, 0, 0)]
    seconds = pa.timestamp("s", "UTC")
    columns: dict[str, arrow.Column] = {
        "gpu": pa.array([row[0] for row in told], _TEXT),
        "valid_from": pa.array([row[1] for row in told], pa.int64()).cast(seconds),
        "valid_to": pa.array([row[2] for row in told], pa.int64()).cast(seconds),
        "nanousd_per_hour": pa.array([row[3] for row in told], pa.int64()),
        "version": pa.array([now_ns] * len(told), pa.uint64()),
    }
    handle.insert_arrow("llmtrail.gpu_prices_data", pa.table(columns), f"gpu-prices:{now_ns}")
    return True


def stored_deployments(handle: Handle) -> list[Deployment]:
    """Return the deployments of the store, by name."""
    found: dict[tuple[str, str, str], list[tuple[str, ...]]] = {}
    for row in _stored(handle):
        found.setdefault((row[0], row[1], row[2]), []).append(row[3:])
    return [
        Deployment(*named, *(tuple(sorted({row[place] for row in rows} - {""})) for place in range(3)))
        for named, rows in sorted(found.items())
    ]


_NAMES = ("deployment", "address", "model", "host", "gpu", "pod")


def _stored(handle: Handle) -> list[tuple[str, ...]]:
    # As the view tells it, at a third of its time: each look-up asks.
    newest = handle.query(
        f"SELECT {', '.join(_NAMES)} FROM llmtrail.gpu_deployments_data ORDER BY version DESC LIMIT 1 WITH TIES"  # noqa: S608
    )
    return [tuple(row) for row in newest if row[0]]


def _rows(one: Deployment) -> Iterable[tuple[str, ...]]:
    # As calls tell it, so that SQL can compare: a host, or host:port.
    server, port = host_port(one.address)
    address = server if port is None else f"[{server}]:{port}" if ":" in server else f"{server}:{port}"
    for host, gpu, pod in product(one.hosts or ("",), one.gpus or ("",), one.pods or ("",)):
        yield one.name, address, one.model, host, gpu, pod


def day_of(instant_ns: int) -> int:
    """Return the UTC day of an instant, since 1970."""
    return instant_ns // arrow.DAY_NS
