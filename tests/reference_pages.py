"""Write the reference pages from the code itself: settings, metrics, commands, topics. `make docs` runs it."""

import ast
import inspect
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import typer.main

import asyncapi_document
from llmtrail import config
from llmtrail.cli.app import build
from llmtrail.core.usage_conventions import CONVENTIONS, Cost
from llmtrail.metrics import METRICS

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
_MADE = "<!-- Written by `make docs` from the code: change it there. -->\n"


def pages() -> dict[str, str]:
    """Return every generated page by its file name."""
    return {
        "config.md": config_page(),
        "metrics.md": metrics_page(),
        "cli.md": cli_page(),
        "usage.md": usage_page(),
    }


def config_page() -> str:
    """Return the page of every setting with its default and what it means."""
    comments = field_comments(config)
    lines = [_MADE, "# Settings\n", _CONFIG_HEAD]
    for section in fields(config.Config):
        kind = get_type_hints(config.Config)[section.name]
        lines += [f"## [{section.name}]\n", f"{_first_line(kind)}\n"]
        lines += _section(kind, section.name, comments)
        for name, inner in _tables(kind):
            lines += [f"## [{section.name}.{name}]\n", f"{_first_line(inner)}\n"]
            lines += _section(inner, f"{section.name}.{name}", comments)
    lines += ["## [ingest.tokens.NAME]\n", f"{_first_line(config.TokenConfig)}\n"]
    lines += _section(config.TokenConfig, "ingest.tokens.NAME", comments)
    lines += ["## [gpu.deployments.NAME]\n", f"{_first_line(config.DeploymentConfig)}\n"]
    lines += _section(config.DeploymentConfig, "gpu.deployments.NAME", comments)
    return "\n".join(lines)


def metrics_page() -> str:
    """Return the page of every metric."""
    lines = [_MADE, "# Metrics\n", "`GET /metrics` shows these, as Prometheus reads them.\n"]
    for metric in METRICS:
        labels = f" Labels: {', '.join(f'`{label}`' for label in metric.labels)}." if metric.labels else ""
        lines += [f"## {metric.shown_name}\n", f"{metric.kind.value.capitalize()}. {metric.help}{labels}\n"]
    return "\n".join(lines)


def cli_page() -> str:
    """Return the page of every command with its options."""
    lines = [_MADE, "# Commands\n", _CLI_HEAD]
    lines += _commands(typer.main.get_command(build()), "llmtrail")
    return "\n".join(lines)


def usage_page() -> str:
    """Return the page of every convention by which providers count, with its source."""
    lines = [_MADE, "# How providers count\n", _USAGE_HEAD]
    for one in CONVENTIONS:
        shape = f", read with `{one.base}`" if one.base else ""
        lines += [f"## {one.name}\n", f"Source: {one.source}{shape}.\n"]
        rows = [f"| `{name}` | {_places(places)} |" for name, places in one.counts.items()]
        rows += [f"| `{name}`, added to it | {_places(places, ' and ')} |" for name, places in one.alongside.items()]
        rows += [f"| cost, in dollars{_per_dollar(cost)} | {_places((cost.place,))} |" for cost in one.costs]
        if rows:
            lines += ["| ours | theirs |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def _places(places: tuple[str, ...], joined: str = ", else ") -> str:
    return joined.join(f"`{place}`".replace("|", "\\|") for place in places)


def _per_dollar(cost: Cost) -> str:
    unit = "" if cost.per_dollar == 1 else f" of {cost.per_dollar:,} units"
    return unit if cost.only_if is None else f"{unit}, where `{cost.only_if}`"


def field_comments(module: ModuleType) -> dict[tuple[str, str], str]:
    """Return the comment above each field of each class of a module, by (class, field)."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(source).body:
        for item in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(node, ast.ClassDef) and isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                above: list[str] = []
                for line in reversed(lines[: item.lineno - 1]):
                    if not line.strip().startswith("#"):
                        break
                    above.insert(0, line.strip().removeprefix("# "))
                found[node.name, item.target.id] = " ".join(above)
    return found


def _section(kind: Any, prefix: str, comments: dict[tuple[str, str], str]) -> list[str]:
    lines: list[str] = []
    tables = dict(_tables(kind))
    for name in kind.__dataclass_fields__:
        if name in tables:
            continue
        said = comments[kind.__name__, name]
        lines += [f"### {prefix}.{name}\n", f"{said} Default: {_default(kind, name)}.\n"]
    return lines


def _tables(kind: Any) -> list[tuple[str, Any]]:
    """Return the fields of a section that are tables of their own, with what they hold."""
    return [(name, hint) for name, hint in get_type_hints(kind).items() if is_dataclass(hint)]


def _default(kind: Any, name: str) -> str:
    value: Any = getattr(kind(), name)
    if value is None or value in ("", {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and value >= 10_000:
        return f"`{value}` ({value:,})"
    if isinstance(value, tuple):
        return f"`{list(value)}`".replace("'", '"')
    return f"`{value}`"


def _commands(group: Any, path: str) -> list[str]:
    lines: list[str] = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            lines += [f"## {path} {name}\n", f"{command.help}\n", *_commands(command, f"{path} {name}")]
            continue
        lines += [f"## {path} {name}\n", f"{' '.join((command.help or '').split())}\n"]
        lines += [_parameter(parameter) for parameter in command.params if parameter.name != "help"]
        examples = [
            line.removeprefix("[cyan]$ ").removesuffix("[/cyan]")
            for line in (command.epilog or "").splitlines()
            if line.startswith("[cyan]$ ")
        ]
        lines += ["", "```console", *(f"$ {example}" for example in examples), "```", ""]
    return lines


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"- `{parameter.name.upper()}`: {parameter.help}"
    default = f" Default: `{parameter.default}`." if parameter.default not in (None, False, "") else ""
    environment = f" Environment: `{parameter.envvar}`." if parameter.envvar else ""
    return f"- `{', '.join(parameter.opts)}`: {parameter.help}{default}{environment}"


def _first_line(kind: type) -> str:
    assert is_dataclass(kind)
    return inspect.cleandoc(kind.__doc__ or "").splitlines()[0]


_USAGE_HEAD = """\
Each row of the table by which a provider's own usage object is read, be it in an answer, a span or a callback.
[Usage](../guide/usage.md) says what follows from it.
"""
_CONFIG_HEAD = """One file `llmtrail.toml`, read once when a command starts: the one of `--config`, else that of the
working folder. The environment wins over the file (`LLMTRAIL_INGEST__BATCH_ROWS=5000`), the command line over both.
Unknown keys are errors that name the nearest valid one. `llmtrail doctor --settings` prints what is in force and where
each value was said. A secret `x` may be given as `x_file`, the file that holds it; exactly one of them.
"""
_CLI_HEAD = """Exit codes: 0 done, 1 negative result (not found, rejected, a check failed), 2 wrong use, 3 cannot reach.
`show`, `sql` and `dead-letters` ask the process that runs on the data folder, else open the folder themselves.
"""


def main() -> int:
    """Write the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
    asyncapi_document.FILE.write_text(asyncapi_document.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
