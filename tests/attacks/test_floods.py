"""Under each flood an honest sender keeps its rate, health checks are answered, and memory stays within its bound."""

from collections.abc import Iterator

import pytest

from flood import Seen, attacked, memory_bytes, seen_beside
from house import House, running_house

# One stretch of a flood. A machine busy with others may stall for seconds: who starves senders by design starves
# them in every stretch, so that one of three must hold.
FLOOD_S = 3.0
STRETCHES = 3
# What an honest sender keeps of its rate, and within what time a health check is answered.
SHARE_MIN = 0.9
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
        assert running.post(b'{"started_at": 1795000000000000000, "request_model": "gpt-4o"}').status == 200
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(tmp_path_factory.mktemp("guarded"), TOKENS, HONEST) as running:
        yield running


def hold(house: House, base_bytes: int, bound_bytes: int = BOUND_BYTES) -> None:
    """Assert what must hold beside every flood, in one of a few stretches of it; memory stays within bounds in all."""
    stretches: list[Seen] = []
    while len(stretches) < STRETCHES:
        seen = seen_beside(house, FLOOD_S, base_bytes=base_bytes)
        assert seen.grown_bytes < bound_bytes, seen
        stretches.append(seen)
        if seen.share >= SHARE_MIN and not seen.failed_checks and seen.slowest_check_s < CHECK_S_MAX:
            return
    raise AssertionError(f"starved in every stretch: {stretches}")


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
            ("L1", "health checks"),
            ("H2", "reconnects"),
            ("H2", "deaf readers"),
        )
    ],
)
def test_an_honest_sender_of_another_address_keeps_its_rate(house: House, name: str) -> None:
    base_bytes = memory_bytes(house)
    with attacked(house, [name, name], "127.0.0.2"):
        hold(house, base_bytes)


@pytest.mark.attack("H2", "1,200 slow bodies and 1,200 silent connections of one address")
@pytest.mark.parametrize("name", ["1,200 slow bodies", "silence"])
def test_so_many_connections_that_files_ran_out_hold_nobody_up(house: House, name: str) -> None:
    base_bytes = memory_bytes(house)
    with attacked(house, [name], "127.0.0.2"):
        hold(house, base_bytes, IDLE_BOUND_BYTES)


@pytest.mark.attack("H2", "slow bodies from the very address of the honest sender")
@pytest.mark.parametrize("name", ["16 slow bodies", "200 slow bodies", "slow heads", "reconnects"])
def test_an_honest_sender_of_the_same_address_keeps_its_rate(house: House, name: str) -> None:
    base_bytes = memory_bytes(house)
    with attacked(house, [name], "127.0.0.1"):
        hold(house, base_bytes, IDLE_BOUND_BYTES)


@pytest.mark.attack("H2", "one tenant's token against another's, from one address")
@pytest.mark.parametrize("name", ["16 slow bodies", "gzip members", "a bomb below the ratio", "spans", "bad events"])
def test_a_sender_with_a_token_of_its_own_keeps_its_rate(guarded: House, name: str) -> None:
    base_bytes = memory_bytes(guarded)
    with attacked(guarded, [name, name], "127.0.0.1", EVIL):
        hold(guarded, base_bytes)
