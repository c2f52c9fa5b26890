"""A SQL port over calls of two tenants, with a file that must not be read and a place where none must be written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from llmtrail.core.access.grant import TokenScope
from llmtrail.core.call import Call
from llmtrail.store.handle import Handle, Limits, open_chdb
from llmtrail.store.insert import insert_calls
from llmtrail.store.migrate import migrate
from llmtrail_web.sql_endpoint import SqlConfig, sql_app
from sql_served import served
from stored_calls import a_full_call, a_row
from tokens import gate_of, secret

CALLS = 40
# In a file beside the store; in the texts of the other tenant, where no statement has it from.
CANARY = "canary-of-the-host"
FOREIGN = "foreign-9f3a1c"
# What a model answered, in every call: texts are for tokens with the scope `content`.
ANSWERED = "because"
OWN = "acme"
_TABLES = "SELECT name, total_rows FROM system.tables WHERE database = 'llmtrail' ORDER BY name"


@dataclass(frozen=True)
class SqlWorld:
    """The running port and what is behind it."""

    port: int
    store: Handle
    secret: Path
    out: Path
    http: httpx.Client

    def ask(self, statement: str, token: str = "everyone", **params: str) -> httpx.Response:
        """Ask as the bearer of a token: `everyone`, `numbers` (no texts), or a tenant."""
        return self.http.post("/", content=statement.encode(), headers={"x-clickhouse-key": token}, params=params)

    def filled(self, statement: str) -> str:
        """Put the paths into a statement of `sql_seeds`."""
        text = statement.replace("{secret}", str(self.secret)).replace("{out}", str(self.out / "out"))
        return text.replace("{{", "{").replace("}}", "}")

    def state(self) -> list[tuple[object, ...]]:
        """What a statement could have changed: the tables with their rows, and the files where none may be."""
        return [*(tuple(row) for row in self.store.query(_TABLES)), *((str(file),) for file in self.out.rglob("*"))]


@contextmanager
def sql_world(folder: Path) -> Iterator[SqlWorld]:
    """Serve a store with calls of the tenants `acme` and `evil`, half of them each."""
    secret_file, out = folder / "secret.csv", folder / "out"
    secret_file.write_text(f"{CANARY},x\n{CANARY},y\n")
    out.mkdir()
    store = open_chdb(folder / "store")
    everything = (TokenScope.READ, TokenScope.CONTENT)
    gate = gate_of(
        secret("everyone", scopes=everything),
        secret("numbers"),
        *(secret(tenant, tenant, everything) for tenant in (OWN, "evil")),
        secret("acme-admin", OWN, (TokenScope.READ, TokenScope.ADMIN)),
        secret("acme-numbers", OWN),
    )
    try:
        migrate(store)
        insert_calls(store, [a_row(a_call_of(("acme", "evil")[n % 2], n)) for n in range(CALLS)], "calls")
        limits = Limits(execution_s=2, memory_bytes=200_000_000, result_rows=5_000)
        with (
            served(sql_app(store, SqlConfig(limits=limits, writable=True), gate)) as port,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
        ):
            yield SqlWorld(port, store, secret_file, out, http)
    finally:
        store.close()


def a_call_of(tenant: str, number: int) -> Call:
    """Return a call of a tenant; the other's texts tell whose it is."""
    call = a_full_call(number + 1)
    if tenant == OWN:
        return msgspec.structs.replace(call, tenant=OWN, user_id=str(number))
    texts = {"user_id": f"{FOREIGN}-{number}", "request_id": f"{FOREIGN}-r{number}", "feature": FOREIGN}
    return msgspec.structs.replace(call, tenant=tenant, **texts)
