"""`llmtrail check`: whether settings, budgets, alarms, owners and routes are good, and the tests beside them pass."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, JsonOption, example, settings
from llmtrail.cli.terminal import print_json, print_text
from llmtrail.cli.wording import count
from llmtrail.config import Config
from llmtrail.config_load import FILE_NAME

if TYPE_CHECKING:
    from llmtrail_alerts.model_names import Covered
    from llmtrail_alerts.rule_tests import CaseResult
    from llmtrail_alerts.rules_file import Loaded
    from llmtrail_alerts.toml_table import Problem

EXAMPLE = example("llmtrail check", "llmtrail check --rules infra/rules", "llmtrail check --json")

_MODELS_SHOWN = 6  # of a pattern; --json has all of them

RulesOption = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        help="Folder of budgets.toml, rules.toml, owners.toml; its llmtrail.toml is read. Default: [alerts] folder.",
    ),
]


def command(rules: RulesOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Validate settings, budgets, alarms, owners and routes, and run the tests beside them."""
    found = settings(config or _beside(rules)).config
    folder = rules or found.alerts.folder
    if folder is None:
        _tell_nothing_watched(as_json=as_json, problems=list(_price_problems(found)))
        return
    if not folder.is_dir():
        raise CommandError(Exit.WRONG_USE, f"{folder} is no folder; name it with --rules or as [alerts] folder.")
    try:
        from llmtrail.local.prices import models_of
        from llmtrail_alerts.rule_tests import run_cases
        from llmtrail_alerts.rules import RulesError
        from llmtrail_alerts.rules_file import load_folder
    except ModuleNotFoundError as error:
        raise CommandError(Exit.WRONG_USE, f"{error.name} is missing: pip install 'llmtrail[alerts]'.") from error
    loaded: Loaded | None = None
    results: Sequence[CaseResult] = ()
    problems = list(_price_problems(found))
    try:
        loaded = load_folder(folder, None if problems else models_of(found))
        problems += [*loaded.warnings, *_setting_problems(loaded, found), *_secret_problems(loaded, folder)]
        results = run_cases(loaded.rules, loaded.cases)
    except RulesError as error:
        problems += error.problems
    _tell(folder, loaded, problems, results, as_json=as_json)


def _beside(rules: Path | None) -> Path | None:
    """Return the settings that stand beside rules which were named: what those need is told there."""
    file = None if rules is None else rules / FILE_NAME
    return file if file is not None and file.is_file() else None


def _setting_problems(loaded: "Loaded", config: Config) -> "Iterator[Problem]":
    """Return what is odd of the settings beside these rules."""
    from llmtrail_alerts.needs import unowned

    yield from unowned(loaded.rules, config.stats.feature_users)


def _secret_problems(loaded: "Loaded", folder: Path) -> "Iterator[Problem]":
    """Return which secrets are not here. Only odd: rules are often checked where nothing is sent from."""
    from llmtrail_alerts.rules_file import SecretError, channel_of
    from llmtrail_alerts.toml_table import Gravity, Problem

    for name, spec in loaded.rules.channels.items():
        try:
            channel_of(spec, os.environ, folder)
        except SecretError as error:
            place = loaded.rules.place("channel", name)
            yield Problem(place.file, place.line, "", f"{error}", Gravity.WARNING)


def _price_problems(config: Config) -> "Iterator[Problem]":
    """Return what is wrong with the file of one's own prices, which budgets in dollars depend on."""
    from llmtrail.local.prices import price_book
    from llmtrail_alerts.toml_table import Problem
    from llmtrail_ingest.price_overrides import PriceFileError

    if config.pricing.overrides is None:
        return
    try:
        price_book(config)
    except PriceFileError as error:
        yield Problem("", 0, "", str(error))


def _tell_nothing_watched(*, as_json: bool, problems: "list[Problem]") -> None:
    if as_json:
        print_json({"ok": not problems, "folder": None, "problems": [asdict(one) for one in problems]})
    else:
        for one in problems:
            print_text(f"error    {one}")
        print_text("settings: good" if not problems else "settings: see above")
        print_text(
            "rules: none; name their folder as [alerts] folder, or with --rules, and budgets and alarms are watched."
        )
    if problems:
        raise CommandError(Exit.NEGATIVE, f"{count(len(problems), 'error')}; see above.")


def _tell(
    folder: Path,
    loaded: "Loaded | None",
    problems: "Sequence[Problem]",
    results: "Sequence[CaseResult]",
    *,
    as_json: bool,
) -> None:
    errors = sum(one.gravity == "error" for one in problems)
    failed = sum(not result.passed for result in results)
    if as_json:
        document = {
            "ok": not errors and not failed,
            "folder": str(folder),
            **(_counts(loaded) if loaded else {}),
            "models": [asdict(one) for one in loaded.covered] if loaded else [],
            "problems": [asdict(one) for one in sorted(problems)],
            "tests": [asdict(result) | {"passed": result.passed} for result in results],
        }
        print_json(document)
    else:
        _print(loaded, problems, results)
    if errors or failed:
        told = [count(number, what) for number, what in ((errors, "error"), (failed, "failed test")) if number]
        raise CommandError(Exit.NEGATIVE, f"{' and '.join(told)}; see above.")


def _counts(loaded: "Loaded") -> dict[str, int]:
    rules = loaded.rules
    return {
        "budgets": len(rules.budgets),
        "alarms": len(rules.alarms),
        "owners": len(rules.owners),
        "features": len(rules.features),
        "channels": len(rules.channels),
        "silences": len(rules.silences),
        "maintenance": len(rules.maintenance),
    }


def _coverage(one: "Covered") -> str:
    """Return which known models a rule is about, and how it is written where it is called otherwise."""
    where = f"{one.kind} {one.rule!r}"
    if one.models == (one.written,):
        return f"{where}: {one.written}"
    if not one.models:
        return f"{where}: {one.written!r} is no known model"
    shown, more = ", ".join(one.models[:_MODELS_SHOWN]), len(one.models) - _MODELS_SHOWN
    told = f"{shown} and {more} more" if more > 0 else shown
    return f"{where}: {one.written!r} is {told} ({count(len(one.models), 'known model')})"


def _print(loaded: "Loaded | None", problems: "Sequence[Problem]", results: "Sequence[CaseResult]") -> None:
    for one in sorted(problems):
        print_text(f"{one.gravity:8} {one}")
    for about in loaded.covered if loaded else ():
        print_text(f"{'models':8} {_coverage(about)}")
    for result in results:
        print_text(f"{'passed' if result.passed else 'FAILED':8} {result.file}:{result.line}: {result.name}")
        for line in result.differences:
            print_text(f"         {line}")
    if loaded is not None:
        print_text(", ".join(f"{number} {what}" for what, number in _counts(loaded).items()))
