"""Append one bench result, with commit and machine, to `bench/results.jsonl`."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results.jsonl"


def record(case: str, values: dict[str, object]) -> None:
    """Print and append the result of one run of `case`."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=RESULTS.parent,
    ).stdout.strip()
    line = {
        "case": case,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **values,
    }
    text = json.dumps(line)
    print(text)
    with RESULTS.open("a") as file:
        file.write(text + "\n")
