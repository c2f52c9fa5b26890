"""Run llmtrail as its command does, and write the routes of every app that it makes: `FILE up --data …`."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route


def record(file: Path) -> None:
    """Have each app's routes written to `file`, one app a line, once it is made."""
    make = Starlette.__init__

    def made(self: Starlette, *args: Any, **named: Any) -> None:
        make(self, *args, **named)
        # What is no plain route is written too: whoever adds one has to say who may use it.
        routes = [
            (sorted(one.methods or ()), one.path) if isinstance(one, Route) else ([type(one).__name__], str(one))
            for one in self.routes
        ]
        with file.open("a") as out:
            out.write(json.dumps(routes) + "\n")

    Starlette.__init__ = made  # type: ignore[method-assign]


if __name__ == "__main__":
    record(Path(sys.argv[1]))
    sys.argv = ["llmtrail", *sys.argv[2:]]
    runpy.run_module("llmtrail", run_name="__main__", alter_sys=True)
