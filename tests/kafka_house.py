"""A whole house over Kafka for tests of faults: a ClickHouse endpoint of our own and every role as a process."""

import os
import secrets
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kafka_roles import Published, Role
from kafka_truth import RawEvents, comes_to_hold, rows_differ, statistics_differ
from kafka_writers import Trail
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle, open_http
from llmtrail.testing.kafka_broker import free_port

# Everything that fell behind is caught up within this, on two cores that others use too.
SETTLED_S_MAX = 120.0
# The long form of a fault, as it is promised; without it the same in less time.
LONG = os.environ.get("LLMTRAIL_LONG_FAULTS", "") not in {"", "0"}
# Of a role's session, as `kafka_roles.Role` sets it.
SESSION_S = 2.0
_NO_MERGES = "max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1"


@dataclass
class Endpoint:
    """`llmtrail web --writable` as the ClickHouse of the writers; started again it has its former address."""

    role: Role
    port: int
    token: str

    @property
    def url(self) -> str:
        """Return the address with the token that may write."""
        return self.at(self.port)

    def at(self, port: int) -> str:
        """Return the address by another way, as a proxy's."""
        return f"http://writer:{self.token}@127.0.0.1:{port}"

    def open(self) -> Handle:
        """Return a handle, once it answers."""
        self.role.url()
        return open_http(self.url)

    def kill(self) -> None:
        """End it at once."""
        self.role.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.role.start()
        self.role.url()
        # A merge would hide what was inserted twice before a test could see it.
        store = open_http(self.url)
        store.command(f"ALTER TABLE llmtrail.calls_data MODIFY SETTING {_NO_MERGES}")
        store.close()


def endpoint_of(trail: Trail, folder: Path) -> Endpoint:
    """Return an endpoint over a data folder of its own, not started yet."""
    folder.mkdir(parents=True)
    token, port = secrets.token_hex(16), free_port()
    config = folder / "llmtrail.toml"
    config.write_text(f'[ingest.tokens.writers]\ntoken = "{token}"\nscopes = ["admin", "read"]\n')
    arguments = ["web", "--writable", "--config", str(config), "--sql-port", str(port)]
    return Endpoint(Role(arguments, trail, folder), port, token)


@dataclass(repr=False)
class KafkaHouse:
    """The roles of one test, what was sent to them, and where what they made of it is seen."""

    trail: Trail
    folder: Path
    raw: RawEvents
    endpoint: Endpoint
    published: Published
    roles: list[Role] = field(default_factory=list)
    _store: Handle | None = None

    def rows(self, name: str = "rows", store_url: str = "") -> Role:
        """Return a rows writer."""
        return self.role(["ingest", "--roles", "rows"], name, {"LLMTRAIL_STORE__URL": store_url or self.endpoint.url})

    def statistics(self, name: str = "statistics") -> Role:
        """Return a statistics cursor."""
        return self.role(["ingest", "--roles", "statistics"], name, {})

    def aggregator(self, name: str = "aggregator") -> Role:
        """Return a supervisor with its Faust worker."""
        return self.role(["aggregate"], name, {})

    def role(self, arguments: Sequence[str], name: str, settings: dict[str, str] | None = None) -> Role:
        """Return any other role."""
        role = Role(arguments, self.trail, self.folder / name, settings or {})
        self.roles.append(role)
        return role

    def send(self, calls: int) -> None:
        """Send events of this many new calls."""
        self.trail.produce(self.raw.make(calls))

    def store(self) -> Handle:
        """Return what reads the rows."""
        if self._store is None:
            self._store = self.endpoint.open()
        return self._store

    def stored(self) -> int:
        """Return how many calls are stored; 0 while the store is away."""
        try:
            return int(self.store().query("SELECT count() FROM llmtrail.calls")[0][0])
        except StoreError:
            return 0

    def counted(self) -> int:
        """Return how many calls the published statistics tell."""
        tenant = self.published.read().cells().get('["","tenant"]')
        return tenant.calls if tenant else 0

    def rows_hold(self) -> None:
        """Wait until the rows equal the raw events."""
        comes_to_hold(lambda: rows_differ(self.store(), self.raw), SETTLED_S_MAX)

    def statistics_hold(self) -> None:
        """Wait until the statistics equal the raw events."""
        comes_to_hold(lambda: statistics_differ(self.published, self.raw), SETTLED_S_MAX)

    def close(self) -> None:
        """Kill what is left."""
        if self._store is not None:
            self._store.close()
        self.published.close()
        for role in [*self.roles, self.endpoint.role]:
            if role.process is not None and role.process.poll() is None:
                os.kill(role.pid, signal.SIGCONT)
                role.kill()


@contextmanager
def kafka_house(trail: Trail, folder: Path, raw: RawEvents) -> Iterator[KafkaHouse]:
    """Give a house whose roles are not started yet; kill what is left of it in the end."""
    house = KafkaHouse(trail, folder, raw, endpoint_of(trail, folder / "store"), Published(trail))
    try:
        yield house
    finally:
        house.close()
