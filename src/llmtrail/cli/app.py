"""The command line as a whole: which commands there are. Knows nothing of what they do."""

import sys

import typer

from llmtrail import private_files
from llmtrail.cli import (
    aggregate,
    alert,
    check,
    dead_letters,
    demo,
    doctor,
    gpu,
    ingest,
    migrate,
    move,
    reconcile,
    replay,
    reprice,
    show,
    sql,
    stats,
    tokens,
    topics,
    up,
    web,
)
from llmtrail.cli.exits import CommandError, Exit, leave
from llmtrail.cli.terminal import keep_logs_safe

# Every command's own file; each imports what it needs only when it runs, so that `show` is quick.
COMMANDS = {
    "up": up,
    "ingest": ingest,
    "aggregate": aggregate,
    "gpu": gpu,
    "web": web,
    "demo": demo,
    "show": show,
    "sql": sql,
    "stats": stats,
    "replay": replay,
    "reconcile": reconcile,
    "reprice": reprice,
    "migrate": migrate,
    "move": move,
    "check": check,
    "doctor": doctor,
}


def build() -> typer.Typer:
    """Return the command line."""
    house = typer.Typer(
        name="llmtrail",
        help="Every LLM call on the trail, and found by its request id.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_show_locals=False,
    )
    for name, module in COMMANDS.items():
        house.command(name, epilog=module.EXAMPLE)(module.command)
    house.add_typer(alert.build(), name="alert")
    house.add_typer(dead_letters.build(), name="dead-letters")
    house.add_typer(tokens.build(), name="tokens")
    house.add_typer(topics.build(), name="topics")
    return house


def app() -> None:
    """Run the command line; every error that a user can cause is told in one line."""
    private_files.restrict_umask()
    keep_logs_safe()
    try:
        build()()
    except CommandError as error:
        leave(error)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing is left to say, not even at exit.
        sys.stderr.close()
        raise SystemExit(int(Exit.DONE)) from None
