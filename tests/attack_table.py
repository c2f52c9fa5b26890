"""Which attacks held: rows for the table that `make attacks` prints, from the reports of tests marked `attack`."""

from collections.abc import Iterable

import pytest

MARKER = "attack"
Row = tuple[str, str, str]  # finding, attack, held
_RANKS = "CHML"  # critical, high, medium, low


def attack_of(item: pytest.Item) -> tuple[str, str]:
    """The finding and the attack of a test; a usage error where it names none."""
    marker = item.get_closest_marker(MARKER)
    if marker is None or len(marker.args) != 2:
        raise pytest.UsageError(f'{item.nodeid}: mark it with @pytest.mark.attack("C1", "what the attacker does")')
    finding, what = marker.args
    return str(finding), str(what)


def attack_rows(reports: Iterable[pytest.TestReport]) -> list[Row]:
    """One row for each finding and attack: "yes" where every case of it held, else how many did."""
    attacks: dict[tuple[str, str], dict[str, str]] = {}
    for report in reports:
        for name, value in report.user_properties:
            if name == MARKER and isinstance(value, tuple | list):
                cases = attacks.setdefault((str(value[0]), str(value[1])), {})
                # A test reports its setup, itself and its end: it held where none of them went wrong.
                if cases.get(report.nodeid, "passed") == "passed":
                    cases[report.nodeid] = report.outcome
    return [(*attack, _held(list(attacks[attack].values()))) for attack in sorted(attacks, key=_by_rank)]


def _by_rank(attack: tuple[str, str]) -> tuple[int, int, str, str]:
    finding, what = attack
    number = finding[1:]
    rank = _RANKS.find(finding[:1])
    return rank if rank >= 0 else len(_RANKS), int(number) if number.isdigit() else 0, finding, what


def _held(outcomes: list[str]) -> str:
    passed, skipped = outcomes.count("passed"), outcomes.count("skipped")
    if passed == len(outcomes):
        return "yes" if passed == 1 else f"yes, {passed} cases"
    return "not tried" if passed + skipped == len(outcomes) else f"NO, {passed} of {len(outcomes)} cases"
