"""An audit that nobody answered is no audit: the auditor's "no known vulnerabilities" is read package by package."""

import json
from typing import Any

import pytest

from audit import DONE, FOUND, NOBODY_ANSWERED, verdict

SOUND: dict[str, Any] = {"name": "orjson", "version": "3.12.0", "vulns": []}
FLAWED = {"name": "orjson", "version": "3.11.3", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.11.6"]}]}
SKIPPED = {"name": "msgspec", "skip_reason": "Dependency not found on the index and could not be audited"}


def _verdict(*packages: dict[str, Any]) -> tuple[int, list[str]]:
    return verdict("requirements.lock", json.dumps({"dependencies": packages}))


def test_a_flaw_is_named_with_the_version_that_mends_it() -> None:
    code, lines = _verdict(SOUND, FLAWED, SKIPPED)
    assert code == FOUND
    assert lines[0] == "requirements.lock: orjson 3.11.3: PYSEC-1, fixed in 3.11.6"


@pytest.mark.parametrize("packages", [(SKIPPED,), (SKIPPED, SOUND), ()])
def test_packages_that_nobody_knew_are_not_audited(packages: tuple[dict[str, Any], ...]) -> None:
    code, lines = _verdict(*packages)
    assert code == NOBODY_ANSWERED
    assert "NOT AUDITED" in lines[0]


@pytest.mark.parametrize("answer", ["", "Traceback", "[]", "{}"])
def test_an_auditor_that_fails_has_audited_nothing(answer: str) -> None:
    assert verdict("requirements.lock", answer)[0] == NOBODY_ANSWERED


def test_packages_that_are_known_and_sound_are_audited() -> None:
    assert _verdict(SOUND) == (DONE, ["requirements.lock: 1 packages, no known vulnerability."])
