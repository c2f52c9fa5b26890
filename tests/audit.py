"""Ask the advisory service about every package of the locks, and say plainly where nobody answered.

audit.py COMMAND...: the auditor, as it is called. It says "no known vulnerabilities" also where the service knew none
of the packages, so its answer is read package by package here.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("requirements.lock", "infra/docker/requirements.lock")
DONE, FOUND, NOBODY_ANSWERED = 0, 1, 3
_TIMEOUT_S: Final = 600.0
_OPTIONS: Final = ("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json")


def verdict(lock: str, answer: str) -> tuple[int, list[str]]:
    """The exit code for a lock, and the lines to print, from what the auditor printed."""
    try:
        packages: list[Mapping[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return NOBODY_ANSWERED, [f"{lock}: NOT AUDITED: the auditor gave no answer; see what it printed above."]
    unknown = [str(one["name"]) for one in packages if "skip_reason" in one]
    lines = [_flaw(lock, one, flaw) for one in packages for flaw in one.get("vulns", ())]
    if lines:
        return FOUND, [*lines, f"{lock}: raise these in pyproject.toml and make the locks anew (CONTRIBUTING.md)."]
    if len(unknown) == len(packages):
        return NOBODY_ANSWERED, [f"{lock}: NOT AUDITED: the advisory service cannot be reached from here."]
    if unknown:
        return NOBODY_ANSWERED, [f"{lock}: NOT AUDITED in part: nothing is known of {', '.join(unknown[:10])}."]
    return DONE, [f"{lock}: {len(packages)} packages, no known vulnerability."]


def _flaw(lock: str, package: Mapping[str, Any], flaw: Mapping[str, Any]) -> str:
    fixed = ", ".join(flaw["fix_versions"]) or "no version"
    return f"{lock}: {package['name']} {package['version']}: {flaw['id']}, fixed in {fixed}"


def main(command: list[str]) -> int:
    """Audit every lock; the worst exit code of them."""
    codes = []
    for lock in LOCKS:
        done = subprocess.run(
            [*command, *_OPTIONS, "--requirement", str(ROOT / lock)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        code, lines = verdict(lock, done.stdout)
        if not done.stdout:
            sys.stderr.write(done.stderr)
        print("\n".join(lines))  # noqa: T201 - this is a command.
        codes.append(code)
    return FOUND if FOUND in codes else max(codes)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
