"""What benches of the SDK share: the texts of its calls in a file, and a sink that counts what arrives."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from texts import MADE_UP, alike, conversations, name_of

# Each text comes again after so many others.
_CALLS = 200
_SINK = Path(__file__).parent / "emit" / "sink.py"


def loads(load: dict[str, Any], texts: str, form: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the load with made-up texts, then with those asked for: a name, and the load with its file of texts."""
    chosen = conversations(texts, form, seed=1, count=_CALLS)
    with tempfile.TemporaryDirectory(prefix="llmtrail-bench-") as folder:
        for name, those in ((MADE_UP, alike(chosen, seed=1)), (name_of(texts), chosen)):
            path = Path(folder) / "texts.json"
            path.write_text(json.dumps(those), encoding="utf-8")
            yield name, load | {"texts": str(path)}


@contextmanager
def sink_running() -> Iterator[int]:
    """Run a sink; yield its port."""
    sink = subprocess.Popen([sys.executable, str(_SINK)], stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        yield int(sink.stdout.readline())
    finally:
        sink.terminate()
        sink.wait()
