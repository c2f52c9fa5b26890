"""Under each flood an honest sender keeps its rate, health checks are answered, and memory stays within its bound.

The attackers share the machine with the server, niced. A flood is looked at in up to three stretches, one must hold:
what starves others by design does so in all three, a busy machine does not. An honest sender's rate is compared with
what it reached in a quiet stretch of the same run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from flood import Seen, attacked, memory_bytes, seen_beside, seen_best
from house import House, running_house

FLOOD_S = 2.0
# What an honest sender keeps of its rate.
SHARE_MIN = 0.9
# Within how many seconds a health check is answered.
CHECK_S_MAX = 1.0
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
def quiet_share(house: House) -> float:
    return seen_beside(house, FLOOD_S).share


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(tmp_path_factory.mktemp("guarded"), TOKENS, HONEST) as running:
        yield running


@dataclass(frozen=True)
class Bounds:
    """What must hold beside a flood: a part of what was sent in the quiet stretch, and memory."""

    quiet_share: float
    grown_bytes: int = BOUND_BYTES


def held_beside(house: House, names: list[str], source: str, bounds: Bounds, token: str = "") -> None:
    """Assert what must hold beside every flood."""
    base_bytes = memory_bytes(house)

    def is_held(seen: Seen) -> bool:
        keeps_rate = seen.share >= SHARE_MIN * bounds.quiet_share
        return keeps_rate and not seen.failed_checks and seen.slowest_check_s < CHECK_S_MAX

    with attacked(house, names, source, token):
        looks = seen_best(lambda: seen_beside(house, FLOOD_S, base_bytes=base_bytes), is_held)
    assert is_held(looks[-1]), (bounds, looks)
    assert all(seen.grown_bytes < bounds.grown_bytes for seen in looks), looks


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
def test_an_honest_sender_of_another_address_keeps_its_rate(house: House, quiet_share: float, name: str) -> None:
    held_beside(house, [name, name], "127.0.0.2", Bounds(quiet_share))


@pytest.mark.attack("H2", "1,200 slow bodies and 1,200 silent connections of one address")
@pytest.mark.parametrize("name", ["1,200 slow bodies", "silence"])
def test_so_many_connections_that_files_ran_out_hold_nobody_up(house: House, quiet_share: float, name: str) -> None:
    held_beside(house, [name], "127.0.0.2", Bounds(quiet_share, IDLE_BOUND_BYTES))


@pytest.mark.attack("H2", "slow bodies from the very address of the honest sender")
@pytest.mark.parametrize("name", ["16 slow bodies", "200 slow bodies", "slow heads", "reconnects"])
def test_an_honest_sender_of_the_same_address_keeps_its_rate(house: House, quiet_share: float, name: str) -> None:
    held_beside(house, [name], "127.0.0.1", Bounds(quiet_share, IDLE_BOUND_BYTES))


@pytest.mark.attack("H2", "one tenant's token against another's, from one address")
@pytest.mark.parametrize("name", ["16 slow bodies", "gzip members", "a bomb below the ratio", "spans", "bad events"])
def test_a_sender_with_a_token_of_its_own_keeps_its_rate(guarded: House, quiet_share: float, name: str) -> None:
    held_beside(guarded, [name, name], "127.0.0.1", Bounds(quiet_share), EVIL)
