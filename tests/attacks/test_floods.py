"""Under each flood every post of an honest sender and every health check is answered, and memory stays in its bound.

How fast is measured by `make bench CASE=floods`: 90 % of the rate, and checks within a second. Attackers are niced.
"""

from collections.abc import Iterator

import pytest

from eventually import eventually
from flood import attacked, memory_bytes, seen_beside
from house import House, running_house

FLOOD_S = 2.0
# What the flood before brought is stored before the next begins.
SETTLED_S_MAX = 120
MIB = 1024 * 1024
# What the settings allow: bodies in hand, one large body being read, and what connections hold.
BOUND_BYTES = 1_024 * MIB
# Beside slow and silent connections nothing is in hand.
IDLE_BOUND_BYTES = 256 * MIB
TOKENS = """
[ingest.tokens.honest]
token = "honest-4b7e3f9c1d2a5e8f7b6c9d0e1f2a3b4c"
tenant = "acme"
[ingest.tokens.evil]
token = "evil-9f8e7d6c5b4a39281706f5e4d3c2b1a0"
tenant = "evil"
scopes = ["ingest", "read"]
"""
HONEST = "honest-4b7e3f9c1d2a5e8f7b6c9d0e1f2a3b4c"
EVIL = "evil-9f8e7d6c5b4a39281706f5e4d3c2b1a0"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(tmp_path_factory.mktemp("flooded")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(tmp_path_factory.mktemp("guarded"), TOKENS, HONEST) as running:
        yield running


def held_beside(house: House, names: list[str], source: str, grown_bytes_max: int, token: str = "") -> None:
    """Assert what must hold beside every flood."""
    eventually(lambda: house.backlog() == 0, SETTLED_S_MAX)
    base_bytes = memory_bytes(house)
    with attacked(house, names, source, token):
        seen = seen_beside(house, FLOOD_S, base_bytes)
    assert seen.accepted == seen.due, seen
    assert not seen.failed_checks, seen
    assert seen.grown_bytes < grown_bytes_max, seen


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.attack(finding, name))
        for finding, name in (
            ("H2", "16 slow bodies"),
            ("H2", "200 slow bodies"),
            ("H2", "slow heads"),
            ("H5", "endless headers"),
            ("H5", "many headers"),
            ("H3", "gzip members"),
            ("H3", "gzip members that unpack"),
            ("H3", "a ratio bomb"),
            ("H3", "a bomb below the ratio"),
            ("H3", "a deflate bomb"),
            ("H3", "deep events"),
            ("H3", "deep arrays"),
            ("H3", "deep OTLP"),
            ("H7", "empty spans"),
            ("H7", "spans"),
            ("L1", "names"),
            ("L1", "bad events"),
            ("H2", "one-byte chunks"),
            ("H2", "chunk extensions"),
            ("H3", "a zstd bomb"),
            ("H3", "long integers"),
            ("H3", "long fractions"),
            ("H3", "huge exponents"),
            ("H3", "open arrays and objects"),
            ("H3", "many keys"),
            ("H3", "deep protobuf"),
            ("H3", "merged messages"),
            ("H3", "texts like addresses"),
            ("H3", "escapes"),
            ("L1", "health checks"),
            ("H2", "reconnects"),
            ("H2", "deaf readers"),
        )
    ],
)
def test_an_honest_sender_of_another_address_is_served(house: House, name: str) -> None:
    held_beside(house, [name, name], "127.0.0.2", BOUND_BYTES)


@pytest.mark.attack("H2", "1,200 slow bodies and 1,200 silent connections of one address")
@pytest.mark.parametrize("name", ["1,200 slow bodies", "silence"])
def test_so_many_connections_that_files_ran_out_hold_nobody_up(house: House, name: str) -> None:
    held_beside(house, [name], "127.0.0.2", IDLE_BOUND_BYTES)


@pytest.mark.attack("H2", "slow bodies from the very address of the honest sender")
@pytest.mark.parametrize("name", ["16 slow bodies", "200 slow bodies", "slow heads", "reconnects"])
def test_an_honest_sender_of_the_same_address_is_served(house: House, name: str) -> None:
    held_beside(house, [name], "127.0.0.1", IDLE_BOUND_BYTES)


@pytest.mark.attack("H2", "one tenant's token against another's, from one address")
@pytest.mark.parametrize("name", ["16 slow bodies", "gzip members", "a bomb below the ratio", "spans", "bad events"])
def test_a_sender_with_a_token_of_its_own_is_served(guarded: House, name: str) -> None:
    held_beside(guarded, [name, name], "127.0.0.1", BOUND_BYTES, EVIL)
