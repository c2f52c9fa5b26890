"""Which partition of the journal a rule has its place in: whoever owns that decides on it. Pure."""

from zlib import crc32

from llmtrail_alerts.rules import Rules


def home_of(rules: Rules, name: str, partitions: int) -> int:
    """Return the partition of a rule: the same in every process that has the same rules.

    Rules of which one keeps another quiet have one home, because their decider must see both.
    """
    return crc32(min(_family(rules, name)).encode()) % partitions


def _family(rules: Rules, name: str) -> set[str]:
    """Return the rules that are tied to a rule by inhibition, itself among them."""
    ties: dict[str, set[str]] = {}
    for speaker, spoken_for in rules.inhibitions.items():
        for other in spoken_for:
            ties.setdefault(speaker, set()).add(other)
            ties.setdefault(other, set()).add(speaker)
    family, new = {name}, {name}
    while new:
        new = {other for one in new for other in ties.get(one, ())} - family
        family |= new
    return family
