"""Keep hard links to the active parts of a store that another engine has open. Knows file names, no rows.

Parts of MergeTree tables never change once they bear their name, so a link is a whole part for ever, and a set of
links is a snapshot. Which parts are active is read from their names, as the engine itself does when it starts: those
that no other part covers. A listing that the engine changed meanwhile is read again, so that a row stands neither
twice nor not at all between the inputs of a merge and its output.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llmtrail.store.errors import StoreError

DATABASE: Final = "llmtrail"
# A listing that changes so often while it is read belongs to a broken disk or a foreign writer.
_READS_MAX: Final = 100
# Two changes within one tick of the file system's clock bear one time: a listing is trusted once that has passed.
_TICK_NS: Final = 50_000_000
_PART: Final = re.compile(
    r"(?P<partition>[A-Za-z0-9-]+)_(?P<low>\d+)_(?P<high>\d+)_(?P<level>\d+)(?:_(?P<change>\d+))?"
)
_ATTACH: Final = re.compile(r"ATTACH (?P<kind>TABLE|VIEW) _ UUID '(?P<uuid>[0-9a-f-]{36})'")
_MERGE_TREE: Final = re.compile(r"\nENGINE = \w*MergeTree\b")
# Where a file system has no hard links, or not these, a copy does.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Definition:
    """One table of parts, or one view, as the store's metadata has it."""

    name: str
    sql: str
    uuid: str
    is_table: bool


@dataclass(frozen=True, slots=True)
class Schema:
    """What stands in the store; a new stamp whenever that may have changed."""

    definitions: tuple[Definition, ...]
    stamp: tuple[tuple[str, int, int], ...]

    @property
    def tables(self) -> tuple[Definition, ...]:
        """Those that hold parts."""
        return tuple(one for one in self.definitions if one.is_table)


@dataclass(slots=True)
class _Linked:
    """What is linked of one table."""

    source: Path
    target: Path
    active: frozenset[str] = frozenset()
    # Folder's time when it was listed; None: it must be listed.
    listed_ns: int | None = None
    # Parts that are active no more, and the generation that does without them.
    stale: dict[str, int] = field(default_factory=dict)


def active_parts(names: Iterable[str]) -> frozenset[str]:
    """The parts among these names of a table's folder that no other one covers."""
    parts = sorted(filter(None, map(_parsed, names)), key=lambda one: (-one.level, -one.change, one.name))
    by_partition: dict[str, list[_Part]] = {}
    for part in parts:
        kept = by_partition.setdefault(part.partition, [])
        if not any(other.covers(part) for other in kept):
            kept.append(part)
    return frozenset(part.name for kept in by_partition.values() for part in kept)


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    partition: str
    low: int
    high: int
    level: int
    change: int

    def covers(self, other: "_Part") -> bool:
        return (
            self.low <= other.low
            and self.high >= other.high
            and self.level >= other.level
            and self.change >= other.change
            and self.partition == other.partition
        )


def _parsed(name: str) -> _Part | None:
    found = _PART.fullmatch(name)
    if found is None:
        return None
    return _Part(
        name, found["partition"], int(found["low"]), int(found["high"]), int(found["level"]), int(found["change"] or 0)
    )


def read_schema(store: Path) -> Schema:
    """Read what the store's metadata defines. Raises StoreError where there is none."""
    stamp = _stamp(store)
    if not stamp:
        raise StoreError(f"{store} holds no tables of llmtrail yet: start `llmtrail up` on its data folder first.")
    folder = _metadata(store)
    try:
        texts = [(name.removesuffix(".sql"), (folder / name).read_text(encoding="utf-8")) for name, _, _ in stamp]
    except FileNotFoundError:
        return read_schema(store)  # one was dropped or renamed meanwhile
    return Schema(tuple(filter(None, (_definition(name, text) for name, text in texts))), stamp)


def _metadata(store: Path) -> Path:
    return store / "metadata" / DATABASE


def _stamp(store: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, times and sizes of the files of metadata, in the order of the names."""
    try:
        with os.scandir(_metadata(store)) as entries:
            found = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith(".sql")]
    except OSError as cause:
        raise StoreError(f"{_metadata(store)} cannot be read: {cause}. Is it the store of a data folder?") from cause
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in found))


def _definition(name: str, sql: str) -> Definition | None:
    """What a file of metadata defines; None for what holds no parts (tables of other engines, dictionaries)."""
    head = _ATTACH.match(sql)
    is_table = head is not None and head["kind"] == "TABLE"
    if head is None or (is_table and not _MERGE_TREE.search(sql)):
        return None
    return Definition(name, sql, head["uuid"], is_table)


class Links:
    """Hard links to the active parts of a store, in a folder of their own. For one thread at a time.

    Every change is a new generation. Links of parts that merged away stay until `release` says that nobody reads a
    generation before theirs. Where tables were altered, or a part left without a successor (its rows expired), an
    engine that reads these links cannot follow: they are `outdated`, and new ones must be made.
    """

    def __init__(self, store: Path, folder: Path, now_ns: int) -> None:
        self.schema = read_schema(store)
        self.folder = folder
        self.generation = 0
        self.outdated = False
        self._store = store
        self._tables = [_new_table(store, folder, one) for one in self.schema.tables]
        self.follow(now_ns)
        # The engine takes a disk whose root it cannot write to for one that only reads.
        folder.chmod(0o500)

    def follow(self, now_ns: int) -> int:
        """Link what is new; return the generation that now stands. Raises StoreError."""
        for table in self._tables:
            if table.listed_ns is None or table.source.stat().st_mtime_ns != table.listed_ns:
                self._follow(table, now_ns)
        return self.generation

    def check_schema(self) -> None:
        """See whether tables or views were made or altered since."""
        self.outdated = self.outdated or _stamp(self._store) != self.schema.stamp

    def release(self, generation: int) -> None:
        """Remove links that nobody reads who is at this generation or a later one."""
        for table in self._tables:
            for name in [name for name, since in table.stale.items() if since <= generation]:
                del table.stale[name]
                shutil.rmtree(table.target / name, ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder with all links."""
        self.folder.chmod(0o700)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _follow(self, table: _Linked, now_ns: int) -> None:
        for _ in range(_READS_MAX):
            changed_ns, active = _listed(table.source)
            if _link_all(table, active):
                break
        else:
            raise StoreError(f"The parts below {table.source} change faster than they can be read; try again.")
        table.listed_ns = changed_ns if now_ns - changed_ns > _TICK_NS else None
        if active == table.active:
            return
        gone = table.active - active
        self.generation += 1
        self.outdated = self.outdated or any(not _is_covered(name, active) for name in gone)
        table.stale |= dict.fromkeys(gone, self.generation)
        table.active = active


def _new_table(store: Path, folder: Path, table: Definition) -> _Linked:
    place = Path("store") / table.uuid[:3] / table.uuid
    linked = _Linked(store / place, folder / place)
    # The engine demands a place for what it detaches, though it detaches nothing here.
    (linked.target / "detached").mkdir(parents=True)
    _link(linked.source / "format_version.txt", linked.target / "format_version.txt")
    return linked


def _listed(folder: Path) -> tuple[int, frozenset[str]]:
    """The folder's time and its active parts, from two listings that agree."""
    before: frozenset[str] | None = None
    for _ in range(_READS_MAX):
        changed_ns = folder.stat().st_mtime_ns
        names = frozenset(os.listdir(folder))  # noqa: PTH208 - one list at once, not one entry after the other
        if names == before:
            return changed_ns, active_parts(names)
        before = names
    raise StoreError(f"The listing of {folder} changes faster than it can be read; try again.")


def _link_all(table: _Linked, active: frozenset[str]) -> bool:
    """Link the parts that are not yet; False where one went away meanwhile, so that the listing is of the past."""
    for name in sorted(active - table.active - table.stale.keys()):
        if not _link_part(table.source / name, table.target / name):
            return False
    for name in active & table.stale.keys():
        del table.stale[name]
    return True


def _link_part(source: Path, target: Path) -> bool:
    growing = target.with_name(f"tmp_{target.name}")
    shutil.rmtree(growing, ignore_errors=True)
    try:
        inode = source.stat().st_ino
        _link_tree(source, growing)
        # The engine renames a part before it takes files out of it.
        if source.stat().st_ino == inode:
            growing.rename(target)
            return True
    except FileNotFoundError:
        pass
    except OSError as cause:
        raise StoreError(f"{source} cannot be linked to {target}: {cause}. Is the disk full?") from cause
    shutil.rmtree(growing, ignore_errors=True)
    return False


def _link_tree(source: Path, target: Path) -> None:
    target.mkdir()
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _link_tree(source / entry.name, target / entry.name)
            else:
                _link(entry.path, target / entry.name)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)


def _is_covered(name: str, active: Iterable[str]) -> bool:
    part = _parsed(name)
    return part is not None and any(other.covers(part) for other in map(_parsed, active) if other)
