"""Take up changed rules without a restart. Broken files change nothing: the former rules stay, and it is told.

Rules hold no amounts that were spent: those come from the statistics, so that no change here can reset them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmtrail.core.audit import AuditRow
from llmtrail.core.model_identity import ModelTable
from llmtrail.private_files import file_owner
from llmtrail_alerts.rule_changes import Snapshot, changes, refusal, renames, snapshot
from llmtrail_alerts.rules import FILES, Rules, RulesError
from llmtrail_alerts.rules_file import Loaded, digest_of, parse_rules, read_texts
from llmtrail_alerts.toml_table import Gravity, Problem

_Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a look at the folder brought: rules to go on with, and what to write into the audit."""

    rules: Rules
    audit: tuple[AuditRow, ...]
    error: RulesError | None = None  # why new files were refused; `rules` are the former ones
    names: Mapping[str, str] = field(default_factory=dict)  # of rules that have another one now


class RulesFolder:
    """A folder of rules under watch. Used by one thread."""

    def __init__(
        self,
        folder: Path,
        known: Snapshot | None = None,
        owner_of: Callable[[Path], str] | None = None,
        check: Callable[[Rules], Sequence[Problem]] = lambda _: (),
        models: ModelTable | None = None,
    ) -> None:
        """Watch a folder.

        `known` is what the rules were when they were last told, `owner_of` whose a file is, and `check` returns what
        this process cannot do of rules that are good in themselves. `models` knows the names that rules may call a
        model by.
        """
        self._folder = folder
        self._check = check
        self._models = models
        self.texts: Mapping[str, str] = {}  # of the rules in force
        self.refused: RulesError | None = None  # why the files as they stand are not in force
        self._known: Snapshot = known or {}
        self._owner_of = owner_of or file_owner
        self._stamp: _Stamp = ()
        self._digest = ""
        self._loaded: Loaded | None = None
        self.reloads = 0  # changes that were taken up
        self.refusals = 0  # changes that were not

    @property
    def known(self) -> Snapshot:
        """Return the rules in force piece by piece: what to store, so that changes made meanwhile are told later."""
        return self._known

    def open(self, now_ns: int) -> Reloaded:
        """Read the folder for the first time. Raises RulesError: without any rules nothing can be watched."""
        self._stamp = self._stamped()
        texts = read_texts(self._folder)
        return self._take(self._read(texts), texts, now_ns)

    def open_former(self, texts: Mapping[str, str], error: RulesError, now_ns: int) -> Reloaded:
        """Go on with rules that were in force before, because those of the folder were refused.

        Raises RulesError where those are none any more.
        """
        former = self._take(self._read(texts), texts, now_ns)
        self._digest = self._digest_now()
        return Reloaded(former.rules, (*former.audit, self._refuse(error, self._digest, now_ns)), error)

    def poll(self, now_ns: int) -> Reloaded | None:
        """Return what has changed since the last look; None where nothing has. Raises nothing once it is open."""
        stamp = self._stamped()
        if stamp == self._stamp or self._loaded is None:
            return None
        self._stamp = stamp
        texts: Mapping[str, str] = {}
        try:
            texts = read_texts(self._folder)
            digest = digest_of(texts)
            if digest == self._digest:
                return None
            self._digest = digest
            return self._take(self._read(texts), texts, now_ns)
        except RulesError as error:
            return Reloaded(self._loaded.rules, (self._refuse(error, digest_of(texts), now_ns),), error)

    def _read(self, texts: Mapping[str, str]) -> Loaded:
        """Return what texts say; raises RulesError also for what this process cannot do of it."""
        loaded = parse_rules(texts, self._models)
        problems = self._check(loaded.rules)
        if any(one.gravity is Gravity.ERROR for one in problems):
            raise RulesError(problems)
        return loaded

    def _refuse(self, error: RulesError, digest: str, now_ns: int) -> AuditRow:
        self.refusals += 1
        self.refused = error
        return refusal(str(error), digest, self._actors().get(error.problems[0].file, ""), now_ns)

    def _digest_now(self) -> str:
        try:
            return digest_of(read_texts(self._folder))
        except RulesError:
            return digest_of({})

    def _take(self, loaded: Loaded, texts: Mapping[str, str], now_ns: int) -> Reloaded:
        self.reloads += self._loaded is not None
        self._loaded, self._digest = loaded, digest_of(texts)
        self.texts, self.refused = texts, None
        pieces = snapshot(loaded.rules)
        rows = changes(self._known, pieces, {**self._actors(), **loaded.authors}, now_ns)
        names = renames(self._known, pieces)
        self._known = pieces
        return Reloaded(loaded.rules, tuple(rows), names=names)

    def _actors(self) -> dict[str, str]:
        return {name: self._owner_of(self._folder / name) for name in FILES if (self._folder / name).exists()}

    def _stamped(self) -> _Stamp:
        """Return what tells that a file was written anew, without reading it."""
        found = []
        for name in FILES:
            try:
                stat = (self._folder / name).stat()
            except OSError:
                continue
            found.append((name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)
