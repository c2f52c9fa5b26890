"""Start the command line; say how to install what it needs where that is missing."""

import sys

_WRONG_USE = 2


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        from llmtrail.cli.app import app  # noqa: PLC0415 - the base install has no command line; say so below.
    except ModuleNotFoundError as missing:
        if missing.name not in {"typer", "rich", "click"}:
            raise
        print(  # noqa: T201 - this is the command line.
            f"the llmtrail command needs {missing.name}: pip install 'llmtrail[embedded]'", file=sys.stderr
        )
        raise SystemExit(_WRONG_USE) from None
    app()


if __name__ == "__main__":
    main()
