"""Read the rules folder: budgets.toml, rules.toml and owners.toml. Tells every mistake, not just the first.

The one place that opens these files; what their keys mean is in `read_*`, whether they fit together in `rules`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtrail.core.model_identity import ModelTable
from llmtrail_alerts.channels.port import TIMEOUT_S, Channel, Secret
from llmtrail_alerts.model_names import Covered, cases_with_one_name, check_models, covered, with_one_name
from llmtrail_alerts.owners import ChannelSpec, SecretFrom, SecretRef
from llmtrail_alerts.read_alarms import read_alarms
from llmtrail_alerts.read_budgets import read_budgets
from llmtrail_alerts.read_cases import read_cases
from llmtrail_alerts.read_owners import read_channels, read_features, read_gpu_owners, read_owners
from llmtrail_alerts.read_quiet import read_maintenance, read_silences
from llmtrail_alerts.rule_case import Case
from llmtrail_alerts.rules import (
    ALARMS_FILE,
    BUDGETS_FILE,
    FILES,
    NO_MODELS,
    OWNERS_FILE,
    Place,
    Rules,
    RulesError,
    check_rules,
)
from llmtrail_alerts.toml_table import UNKNOWN_KEY, Gravity, Problem, Table, TomlFile

# Some 10,000 rules; a larger file is something else.
_FILE_BYTES_MAX: Final = 4 * 1024 * 1024
_SECRET_BYTES_MAX: Final = 16 * 1024


class SecretError(ValueError):
    """A secret that is not where the rules say; the text names the place and never the secret."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a folder holds: the rules, the tests beside them, what is odd but no error, and which text it was."""

    rules: Rules
    cases: tuple[Case, ...]
    warnings: tuple[Problem, ...]
    digest: str
    authors: Mapping[str, str]  # by file: who wrote it, where it says so
    covered: tuple[Covered, ...] = ()  # which known models rules are about, of those that name any


def load_rules(folder: Path, models: ModelTable | None = None) -> Rules:
    """Return the rules of a folder; raise RulesError with every problem, each with file, line and cure."""
    return load_folder(folder, models).rules


def load_folder(folder: Path, models: ModelTable | None = None) -> Loaded:
    """Return the rules of a folder with the tests beside them; raise RulesError."""
    return parse_rules(read_texts(folder), models)


def read_texts(folder: Path) -> dict[str, str]:
    """Return the text of each file that is there; raise RulesError where none is, or one cannot be read."""
    texts: dict[str, str] = {}
    problems = []
    for name in FILES:
        try:
            content = (folder / name).read_bytes()
            texts[name] = content.decode("utf-8-sig")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError):
            problems.append(Problem(name, 0, "", "cannot be read as UTF-8 text; check its rights and its encoding."))
            continue
        if len(content) > _FILE_BYTES_MAX:
            problems.append(
                Problem(name, 0, "", f"is larger than {_FILE_BYTES_MAX} bytes; use * instead of single names.")
            )
    if not texts and not problems:
        what = f"holds no {', '.join(FILES)}; write one, or name another folder as [alerts] folder."
        problems.append(Problem(str(folder), 0, "", what))
    if problems:
        raise RulesError(problems)
    return texts


def parse_rules(texts: Mapping[str, str], models: ModelTable | None = None) -> Loaded:
    """Return what the texts of the files, by name, say; raise RulesError with every problem. Pure.

    Models that rules name are known by `models`; without it by the form of their names alone, and none is unknown.
    """
    files = {name: TomlFile(name, texts.get(name, "")) for name in FILES}
    roots = {name: file.root() for name, file in files.items()}
    places: dict[tuple[str, str], Place] = {}
    budgets, alarms, owners = (roots[name] or _empty(name) for name in (BUDGETS_FILE, ALARMS_FILE, OWNERS_FILE))
    written = Rules(
        budgets=read_budgets(budgets, places),
        alarms=read_alarms(alarms, places),
        owners=read_owners(owners, places),
        features=read_features(owners, places),
        channels=read_channels(owners, places),
        silences=read_silences(owners, places),
        maintenance=read_maintenance(owners, places),
        fallback_owner=owners.text("fallback_owner"),
        gpu_owners=read_gpu_owners(owners, places),
        places=places,
    )
    places["setting", "fallback_owner"] = Place(OWNERS_FILE, owners.line_of("fallback_owner"))
    rules = with_one_name(written, models or NO_MODELS)
    kinds = {rule.name: rule.target.kind for rule in rules.rules}
    cases = (*read_cases(budgets, kinds), *read_cases(alarms, kinds))
    authors = {root.file_name: root.text("changed_by") for root in (budgets, alarms, owners) if "changed_by" in root}
    for root in (budgets, alarms, owners):
        root.done(("changed_by",))
    problems = [problem for file in files.values() for problem in file.problems]
    if None not in roots.values():
        # What a file that cannot be read would have named is not missing elsewhere.
        found = [*check_rules(rules), *(check_models(rules, written) if models is not None else ())]
        problems += _beyond_spelling(found, problems)
    if any(problem.gravity is Gravity.ERROR for problem in problems):
        raise RulesError(problems)
    cases = cases_with_one_name(cases, rules.models)
    return Loaded(rules, cases, tuple(problems), digest_of(texts), authors, tuple(covered(rules, written)))


def _beyond_spelling(found: Iterable[Problem], mistakes: Iterable[Problem]) -> list[Problem]:
    """Return what does not fit together, but of tables with a misspelt key: what that key says is not known yet."""
    misspelt = {(one.file, one.where) for one in mistakes if one.what.startswith(UNKNOWN_KEY)}
    return [one for one in found if (one.file, one.where) not in misspelt]


def digest_of(texts: Mapping[str, str]) -> str:
    """Return a short name for exactly these texts."""
    found = hashlib.sha256()
    for name, text in sorted(texts.items()):
        found.update(f"{name}\0{len(text)}\0{text}".encode())
    return found.hexdigest()[:16]


def channel_of(spec: ChannelSpec, environ: Mapping[str, str], folder: Path) -> Channel:
    """Return a channel with its secrets, from the environment given and files (relative to `folder`).

    Raises SecretError, which names the place and never the secret.
    """
    return Channel(
        name=spec.name,
        kind=spec.kind,
        url=_revealed(spec, "url", environ, folder),
        secret=_revealed(spec, "secret", environ, folder),
        proxy=_revealed(spec, "proxy", environ, folder),
        target=spec.target,
        fallback=spec.fallback,
        deadline_s=spec.deadline_s,
        timeout_s=float(spec.timeout_s) or TIMEOUT_S,
        ca_file=folder / spec.ca_file if spec.ca_file else None,
    )


def _revealed(spec: ChannelSpec, key: str, environ: Mapping[str, str], folder: Path) -> Secret:
    ref: SecretRef | None = getattr(spec, key)
    if ref is None:
        return Secret("")
    match ref.source:
        case SecretFrom.PLAIN:
            text = ref.name
        case SecretFrom.ENV:
            text = environ.get(ref.name, "")
        case SecretFrom.FILE:
            try:
                with (folder / ref.name).open("rb") as file:
                    text = file.read(_SECRET_BYTES_MAX).decode()
            except (OSError, UnicodeDecodeError) as cause:
                raise SecretError(f"channel {spec.name!r}: {key}: cannot read the file {ref.name}.") from cause
    if not text.strip():
        place = f"the variable {ref.name} is not set" if ref.source is SecretFrom.ENV else f"{ref.name} is empty"
        raise SecretError(f"channel {spec.name!r}: {key}: {place}.")
    return Secret(text.strip())


def _empty(name: str) -> Table:
    return Table(TomlFile(name, ""), {}, (), "", 0)
