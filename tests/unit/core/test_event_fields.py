"""The event's schema, its type, its columns, its documentation and its examples say the same."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from llmtrail.core.call import Attempt, Call, CallError, Parser, Retrieval, Served, Usage, Versions
from llmtrail.core.codec import decode_call, encode_call
from llmtrail.core.columns import ATTEMPT_COLUMNS, BODIES, BODY_COLUMNS, CALL_COLUMNS
from llmtrail.core.failure import FailureMode
from llmtrail.core.outcome import RejectReason

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "schemas/events/call.v1.json").read_text())
GUIDE = (ROOT / "docs/guide/event.md").read_text()
DDL = "\n".join(path.read_text() for path in sorted((ROOT / "schemas/clickhouse").glob("*.sql")))
EXAMPLES = sorted((ROOT / "schemas/examples").glob("*.json"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
GROUPS: dict[str, type[msgspec.Struct]] = {
    "usage": Usage,
    "served": Served,
    "versions": Versions,
    "error": CallError,
    "parser": Parser,
    "retrieval": Retrieval,
    "attempts": Attempt,
}


def type_paths(kind: type[msgspec.Struct] = Call, prefix: str = "") -> Iterator[str]:
    for name in kind.__struct_fields__:
        yield prefix + name
        # An attempt's usage has the fields of the call's usage: the guide says so once.
        if (kind is Call and name in GROUPS) or (kind is Attempt and name == "error"):
            yield from type_paths(GROUPS[name], f"{prefix}{name}.")


def schema_paths(schema: dict[str, Any] = SCHEMA, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema["properties"].items():
        yield prefix + name, field
        reference = re.search(r"#/\$defs/(\w+)", json.dumps(field))
        if reference and prefix + name != "attempts.usage":
            yield from schema_paths(SCHEMA["$defs"][reference[1]], f"{prefix}{name}.")


def columns_of(table: str) -> set[str]:
    body = re.search(rf"CREATE TABLE IF NOT EXISTS llmtrail\.{table}\n\((.*?)\n\)\nENGINE", DDL, re.DOTALL)
    assert body is not None, f"schemas/clickhouse creates no {table}"
    added = re.findall(rf"ALTER TABLE llmtrail\.{table} ADD COLUMN (?:IF NOT EXISTS )?`?([\w.]+)`?", DDL)
    return set(re.findall(r"^  `?([a-z][\w.]*)`? [A-Z]", body[1], re.MULTILINE)) | set(added)


def test_the_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_schema_and_type_have_the_same_fields() -> None:
    assert [path for path, _ in schema_paths()] == list(type_paths())


def test_every_field_of_the_schema_is_described() -> None:
    assert [path for path, field in schema_paths() if not field.get("description", "").endswith(".")] == []


def test_the_guide_tells_of_every_field_what_the_schema_says() -> None:
    rows = {m[1]: m[2] for m in re.finditer(r"^\| `([\w.]+)` \| [^|]+ \| (.+) \|$", GUIDE, re.MULTILINE)}
    assert rows == {path: field["description"] for path, field in schema_paths()}


def test_the_guide_names_every_failure_mode_and_every_reason() -> None:
    assert [mode for mode in FailureMode if f"`{mode}`" not in GUIDE] == []
    assert [reason for reason in RejectReason if f"| `{reason}` |" not in GUIDE] == []


def test_the_schema_knows_the_failure_modes_and_limits_of_the_type() -> None:
    assert set(SCHEMA["properties"]["failure_mode"]["enum"]) == {*FailureMode, None}
    assert SCHEMA["$defs"]["usage"]["properties"]["input_tokens"]["maximum"] == 2**40
    assert SCHEMA["properties"]["request_id"]["maxLength"] == 512


def test_every_field_has_a_column() -> None:
    leaves = {path for path in type_paths() if not path.startswith("attempts") and path not in GROUPS}
    assert set(CALL_COLUMNS) == leaves
    assert {path for path, column in CALL_COLUMNS.items() if column == BODIES} == set(BODY_COLUMNS)
    usage = {f"usage.{name}" for name in Usage.__struct_fields__}
    of_attempt = {p.removeprefix("attempts.") for p in type_paths() if p.startswith("attempts.")}
    assert set(ATTEMPT_COLUMNS) == of_attempt - {"usage", "error"} | usage


def test_every_column_stands_in_the_tables() -> None:
    calls = columns_of("calls_data")
    assert {column for column in CALL_COLUMNS.values() if column != BODIES} - calls == set()
    assert set(BODY_COLUMNS.values()) - columns_of("bodies_data") == set()
    assert {f"attempts.{column}" for column in ATTEMPT_COLUMNS.values()} - calls == set()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_fits_the_schema_and_survives_the_codec(path: Path) -> None:
    event = json.loads(path.read_text())
    VALIDATOR.validate(event)
    call = decode_call(path.read_bytes())
    again = json.loads(encode_call(call))
    assert {**again, "schema_version": 1, **{k: v for k, v in event.items() if v is None}} == event
    assert decode_call(encode_call(call)) == call


def test_there_is_an_example_of_every_failure_mode() -> None:
    shown = {json.loads(path.read_text()).get("failure_mode") for path in EXAMPLES}
    assert {*FailureMode, None} == shown
    named = {path.stem.removeprefix("failure_") for path in EXAMPLES if path.stem.startswith("failure_")}
    assert named == set(FailureMode)


@pytest.mark.parametrize(
    "change",
    [
        {"started_at": None},
        {"started_at": 5},
        {"request_model": None},
        {"revision": -1},
        {"schema_version": 2},
    ],
    ids=json.dumps,
)
def test_schema_and_codec_refuse_the_same(change: dict[str, Any]) -> None:
    event = {"started_at": "2026-05-01T12:00:00Z", "request_model": "m", **change}
    assert not VALIDATOR.is_valid(event)
    with pytest.raises(ValueError, match="_"):
        decode_call(json.dumps(event).encode())
