"""What was handed over outlives the process, whatever shape it has and however it ends: none missing, none twice."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.emit_gateway import Gateway, running_gateway
from process_shapes import SHAPES, environment, next_process, prepared

_COUNT = 60
# Twenty milliseconds are promised; a busy machine may take a hundred to let a thread run at all.
_MOMENT_S = 0.3


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


def calls_of(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """Every call that arrived, by its id, later fields over earlier: as the server stores it."""
    calls: dict[str, dict[str, Any]] = {}
    for event in gateway.accepted:
        calls.setdefault(event["call_id"], {}).update(event)
    return calls


@pytest.mark.parametrize("shape", SHAPES)
def test_every_call_is_kept_once(shape: str, gateway: Gateway, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    command = prepared(tmp_path, shape, _MOMENT_S)
    ended = subprocess.run(
        command, env=environment(gateway.url, spool, _COUNT), capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == SHAPES[shape][1], ended.stderr
    assert "Traceback" not in ended.stderr
    next_process(gateway.url, spool)
    calls = calls_of(gateway)
    assert sorted(call["attributes"]["n"] for call in calls.values()) == list(range(_COUNT))
    assert not list(spool.rglob("*.seg"))
    assert not list(spool.rglob("*.held"))


def test_what_was_found_of_a_held_call_outlives_its_process(gateway: Gateway, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    command = prepared(tmp_path, "kill -9 a moment later in an open request", _MOMENT_S)
    subprocess.run(command, env=environment(gateway.url, spool, 3), capture_output=True, timeout=60, check=False)
    next_process(gateway.url, spool)
    last = next(call for call in calls_of(gateway).values() if call["attributes"]["n"] == 2)
    assert last["parser"] == {"status": "ok", "value": "known"}
    assert last["feature"] == "f"
