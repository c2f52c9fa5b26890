"""Read what stands under infra/: YAML documents, and our own command line as deployments call it. Starts nothing."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer.main
import yaml
from typer.core import TyperGroup

from llmtrail.cli.app import build

ROOT = Path(__file__).parents[1]
INFRA = ROOT / "infra"

# Commands of the public surface that deployments name already and that are still to come. Whoever registers one of
# them takes it out here: `test_commands_that_have_come_are_no_longer_awaited` insists.
AWAITED_COMMANDS: frozenset[str] = frozenset()

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    """Return the YAML documents of a file, empty ones left out."""
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def yaml_files() -> list[Path]:
    """Return every YAML file below infra/."""
    return sorted(path for path in INFRA.rglob("*") if path.suffix in {".yaml", ".yml"})


def command_names() -> frozenset[str]:
    """Return the names of our commands as they are registered now."""
    return frozenset(_below(typer.main.get_command(build())))


def command_faults(arguments: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with a call of `llmtrail` with these arguments: unknown commands and options."""
    node: Any = typer.main.get_command(build())
    rest = list(arguments)
    while below := _below(node):
        if node.invoke_without_command and rest[:1] and rest[0].startswith("--"):
            break  # a group that is a command too
        name = rest.pop(0) if rest else ""
        if name in AWAITED_COMMANDS - set(below):
            # Its options cannot be asked for yet: only the one that every role takes is allowed.
            yield from (f"{name} has no option {option}" for option in rest[::2] if option != "--config")
            return
        if name not in below:
            yield f"there is no command {name!r} in {' '.join(arguments)!r}"
            return
        node = below[name]
    yield from _option_faults(node, rest)


def _below(command: Any) -> Mapping[str, Any]:
    return command.commands if isinstance(command, TyperGroup) else {}


def _option_faults(command: Any, rest: list[str]) -> Iterator[str]:
    options = {name: option for option in command.params for name in option.opts if name.startswith("--")}
    while rest:
        option = rest.pop(0)
        if option not in options:
            yield f"{command.name} has no option {option}"
        elif not options[option].is_flag and not rest:
            yield f"{command.name}: {option} needs a value"
        elif not options[option].is_flag:
            rest.pop(0)


def under(document: Mapping[str, Any], *keys: str) -> Any:
    """Return what stands below `keys`, or None where a step is missing."""
    found: Any = document
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found
