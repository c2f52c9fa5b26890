"""Nobody who holds few connections is turned away by those who hold many, however fast they open new ones."""

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.local.connections import Connections

TOTAL_MAX, CLIENT_MAX = 8, 6
# Who opens, closes, waits or works, and how long after the one before.
STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "open", "close", "wait"]), st.integers(0, 2), st.floats(0, 3)), max_size=60
)


def held_after(steps: list[tuple[str, int, float]]) -> tuple[Connections[int], dict[int, str], float]:
    """Return connections after a history, who holds which, and the time."""
    connections: Connections[int] = Connections(TOTAL_MAX, CLIENT_MAX)
    held: dict[int, str] = {}
    now_s = 0.0
    for number, (what, who, after_s) in enumerate(steps):
        now_s += after_s
        client = f"10.0.0.{who}"
        own = [one for one, holder in held.items() if holder == client]
        if what == "open":
            opened = connections.open(number, client, now_s)
            if opened.evicted is not None:
                connections.close(opened.evicted, held.pop(opened.evicted))
            if opened.is_taken:
                held[number] = client
        elif own and what == "close":
            connections.close(own[0], held.pop(own[0]))
        elif own:
            connections.wait(own[0], client, now_s)
    return connections, held, now_s


@given(STEPS)
def test_counts_are_those_held_and_within_their_bounds(steps: list[tuple[str, int, float]]) -> None:
    connections, held, _ = held_after(steps)
    holders = list(held.values())
    assert connections.total == len(held) <= TOTAL_MAX
    assert all(holders.count(client) <= CLIENT_MAX for client in holders)


@given(STEPS)
def test_a_newcomer_finds_room_at_once_beside_who_holds_more(steps: list[tuple[str, int, float]]) -> None:
    connections, held, now_s = held_after(steps)
    opened = connections.open(-1, "10.9.9.9", now_s)
    holders = list(held.values())
    assert opened.is_taken or max(holders.count(client) for client in holders) == 1
    if opened.evicted is not None:
        most = max(holders.count(client) for client in holders)
        assert holders.count(held[opened.evicted]) == most


def test_who_holds_most_itself_waits_until_its_own_were_silent() -> None:
    connections: Connections[int] = Connections(4, 4)
    assert all(connections.open(number, "10.0.0.1", 0.0).is_taken for number in range(4))
    assert not connections.open(4, "10.0.0.1", 0.5).is_taken
    assert connections.open(5, "10.0.0.1", 1.0).evicted == 0
