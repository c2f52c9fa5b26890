"""Append to a local log for ever and say on standard output what was acknowledged. Run by the kill tests."""

import random
import sys
import threading
from pathlib import Path

from llmtrail.log.local import LocalLog
from llmtrail.log.port import CALLS, SPANS, Append


def append_for_ever(log: LocalLog, out: threading.Lock, name: str, seed: int) -> None:
    rng = random.Random(f"{name}:{seed}")
    number = 0
    while True:
        count = rng.choice([1, 3, 50])
        values = [
            f"{name}:{number + place}:".encode() + rng.randbytes(rng.choice([0, 2_900])) for place in range(count)
        ]
        keys = [b""] * count
        first, _ = log.append([Append(CALLS, values, keys), Append(SPANS, values, keys)], number)
        number += count
        if rng.random() < 0.2:
            log.commit("writer", CALLS, 0, first)
            log.trim(CALLS, 0, 0)
        with out:
            sys.stdout.write(f"{name} {number}\n")
            sys.stdout.flush()


def main() -> None:
    log, out = LocalLog(Path(sys.argv[1])), threading.Lock()
    for caller in range(3):
        name = f"{sys.argv[2]}-{caller}"
        threading.Thread(target=append_for_ever, args=(log, out, name, int(sys.argv[2]))).start()


if __name__ == "__main__":
    main()
