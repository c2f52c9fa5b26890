"""What an honest sender, health checks and memory bear, flood by flood, beside a quiet stretch of the same run."""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "tests")]

from record import record  # noqa: E402

from attackers import ATTACKS  # noqa: E402  # bench/ is no package.
from eventually import eventually  # noqa: E402
from flood import Seen, attacked, memory_bytes, seen_beside  # noqa: E402
from house import House, running_house  # noqa: E402

MIB = 1024 * 1024
# How late posts may end that are still in time.
LATE_S_MAX = 0.3
# What a flood brought is stored before the next begins.
SETTLED_S_MAX = 120
# Floods whose connections one address may not hold twice.
ALONE = {"1,200 slow bodies", "silence"}


def told(seen: Seen, quiet: Seen) -> dict[str, object]:
    """Return what was seen as it is recorded."""
    return {
        "share_kept": round(seen.share / max(quiet.share, 0.01), 2),
        "slowest_check_ms": round(seen.slowest_check_s * 1000),
        "failed_checks": seen.failed_checks,
        "grown_mb": seen.grown_bytes // MIB,
    }


def flooded(house: House, name: str, seconds: float) -> dict[str, object]:
    """Look at one flood beside a quiet stretch."""
    eventually(lambda: house.backlog() == 0, SETTLED_S_MAX)
    quiet = seen_beside(house, seconds, late_s_max=LATE_S_MAX)
    base_bytes = memory_bytes(house)
    with attacked(house, [name] if name in ALONE else [name, name], "127.0.0.2"):
        seen = seen_beside(house, seconds, base_bytes, LATE_S_MAX)
    return told(seen, quiet) | {"quiet_check_ms": round(quiet.slowest_check_s * 1000)}


def main() -> None:
    """Run every flood, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(ATTACKS))
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    floods: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder, running_house(Path(folder)) as house:
        for name in given.names:
            floods[name] = seen = flooded(house, name, given.seconds)
            print(f"{name:28}", seen, flush=True)
    record("floods", {"seconds": given.seconds, "floods": floods})


if __name__ == "__main__":
    main()
