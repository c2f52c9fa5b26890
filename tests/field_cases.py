"""The field cases: what real senders send, how each is sent, and what is right (`tests/fixtures/field`)."""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIELD = Path(__file__).parent / "fixtures" / "field"
JSON = "application/json"
_CURL = re.compile(r"^Send: curl -H 'Content-Type: (?P<type>[^']+)' --data @(?P<file>\S+) \$GATEWAY(?P<path>/\S+)")
_POST = re.compile(
    r"^POST (?P<path>\S+) (?:Content-Type )?(?P<type>[^,]+?)"
    r"(?:, headers (?P<headers>\{.*\}))?[;,] body:? (?P<file>\S+)$"
)


@dataclass(frozen=True, slots=True)
class FieldCase:
    """One case: the request, how many calls must be stored, and which values of their columns are right."""

    name: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    calls: int
    right: Mapping[str, Any]
    why: str


def sent_cases(letters: str) -> list[FieldCase]:
    """Return the cases that are one request to the gateway, by the first letters of their names."""
    folders = sorted(one for one in FIELD.iterdir() if one.is_dir() and one.name[0] in letters)
    return [_case(folder) for folder in folders]


def is_right(right: object, stored: object) -> bool:
    """Whether a stored value is the right one: `*` is any value that is not empty."""
    return bool(stored) if right == "*" else stored == right


def _case(folder: Path) -> FieldCase:
    expected = json.loads((folder / "expected.json").read_text())
    path, headers, file = _request((folder / "HOW.md").read_text())
    return FieldCase(
        folder.name,
        path,
        headers,
        (folder / file).read_bytes(),
        expected["calls"],
        expected.get("right", {}),
        expected.get("right_by", ""),
    )


def _request(how: str) -> tuple[str, dict[str, str], str]:
    """Return path, headers and file of the line that says how a case is sent."""
    for line in how.splitlines():
        found = _CURL.match(line) or _POST.match(line)
        if found is not None:
            part = found.groupdict()
            return part["path"], {"content-type": part["type"], **_headers(part.get("headers"))}, part["file"]
    raise ValueError(f"HOW.md has no line that says how to send it: {how!r}")


def _headers(text: str | None) -> dict[str, str]:
    return {} if text is None else {name.lower(): value for name, value in ast.literal_eval(text).items()}
