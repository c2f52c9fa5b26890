"""The rules of the house that no linter knows: each finding says where, what and the cure. Only reads files."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE_LINES_MAX = 500  # Over this nobody reads a file from top to bottom.
FUNCTION_LINES_MAX = 60  # One screen.
REASON_WORDS_MIN = 3  # Fewer words than this are no reason.

# Where time, randomness and the environment enter the house; everywhere else they are arguments.
EDGES = (
    "src/llmtrail/clock.py",
    "src/llmtrail/config_load.py",
    # The SDK lives in other people's processes: it reads its own few settings and binds the clock once.
    "src/llmtrail/emit/config.py",
    "src/llmtrail/emit/recorder.py",
    "src/llmtrail/__main__.py",
    "src/llmtrail/cli/",
    "src/llmtrail/testing/",
)
CODE_FOLDERS = ("src", "services")
PYTHON_FOLDERS = ("src", "services", "tests", "bench")
TEXT_FOLDERS = (*PYTHON_FOLDERS, "schemas", "docs", "infra", ".ci")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".sql", ".json", ".yaml", ".yml", ".xml", ".sh", ".txt", ""}

_BANNED = {
    "time.time": "take now_ns as an argument, or a Clock",
    "time.time_ns": "take now_ns as an argument, or a Clock",
    "time.monotonic": "take a Clock",
    "time.monotonic_ns": "take a Clock",
    "time.perf_counter": "take a Clock",
    "time.perf_counter_ns": "take a Clock",
    "datetime.datetime.now": "take now_ns as an argument, or a Clock",
    "datetime.datetime.utcnow": "take now_ns as an argument, or a Clock",
    "datetime.datetime.today": "take now_ns as an argument, or a Clock",
    "datetime.date.today": "take now_ns as an argument, or a Clock",
    "uuid.uuid1": "take the id as an argument; core.ids makes it from time and random bytes",
    "uuid.uuid4": "take the id as an argument; core.ids makes it from time and random bytes",
    "uuid.uuid7": "take the id as an argument; core.ids makes it from time and random bytes",
    "os.urandom": "take random bytes as an argument; clock.random_bytes makes them at the edge",
    "os.environ": "take a setting as an argument; config_load.py reads it",
    "os.getenv": "take a setting as an argument; config_load.py reads it",
}
# They raise more than their own kind of error; one module each turns all of it into that.
_DECODERS = {
    "msgspec.json.Decoder": "use core.json_decode, whose every failure is msgspec.DecodeError",
    "msgspec.json.decode": "use core.json_decode, whose every failure is msgspec.DecodeError",
    "tomllib.loads": "use core.toml_decode, whose every failure is tomllib.TOMLDecodeError",
    "tomllib.load": "use core.toml_decode, whose every failure is tomllib.TOMLDecodeError",
}
_DECODING = ("src/llmtrail/core/json_decode.py", "src/llmtrail/core/toml_decode.py", "src/llmtrail/testing/")
_RANDOM_CURE = "take a seeded random.Random as an argument"

# Written in pieces, so that this file does not find itself.
_HOSTS = ("py" + "pi.org", "files.python" + "hosted.org", "npm" + "js.org", "crates" + ".io", "repo1.maven" + ".org",
          "maven.apache" + ".org/maven2", "deb.debian" + ".org", "proxy.golang" + ".org")  # fmt: skip
_HOME = re.compile(r"(?<![\w.])/(?:root|home/\w+|Users/\w+|work/main)/")
_BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach: the place, what is wrong and how to mend it."""

    path: str
    line: int
    what: str
    cure: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}; {self.cure}."


def check_tree(root: Path) -> list[Finding]:
    """Return every breach below `root`, in file order."""
    findings: list[Finding] = []
    for path in sorted(_texts(root)):
        name = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8", errors="replace")
        findings += check_text(name, text)
        if path.suffix == ".py":
            findings += check_python(name, text)
    return findings


def check_text(name: str, text: str) -> list[Finding]:
    """Return the breaches that any kind of file can hold."""
    findings = []
    for number, line in enumerate(text.splitlines(), start=1):
        if _HOME.search(line):
            findings.append(Finding(name, number, "a path of somebody's machine", "make it relative to the checkout"))
        findings += [
            Finding(name, number, f"the registry host {host}", "name the package, not its host")
            for host in _HOSTS
            if host in line
        ]
    return findings


def check_python(name: str, text: str) -> list[Finding]:
    """Return the breaches of one Python file."""
    lines = text.splitlines()
    tree = ast.parse(text, filename=name)
    findings = [*_sizes(name, lines, tree), *_ignores(name, lines), *_broad_excepts(name, lines, tree)]
    if name.startswith("tests/"):
        # sleep(0) waits for nothing: it only lets other tasks have their turn.
        findings += [found for found in _sleeps(name, tree) if "sleep(0)" not in lines[found.line - 1]]
    if name.startswith(CODE_FOLDERS) and not name.startswith(_DECODING):
        findings += [found for found in _decoders(name, tree) if not _excused(lines[found.line - 1])]
    if name.startswith(CODE_FOLDERS) and not name.startswith(EDGES):
        findings += [found for found in _edges(name, tree) if not _excused(lines[found.line - 1])]
    return sorted(findings, key=lambda found: found.line)


def _texts(root: Path) -> Iterator[Path]:
    for folder in TEXT_FOLDERS:
        for path in (root / folder).rglob("*"):
            hidden = any(part in {"__pycache__", "fixtures", ".hypothesis"} for part in path.parts)
            if path.is_file() and path.suffix in TEXT_SUFFIXES and not hidden:
                yield path
    # In a worktree `.git` is a file, which names the checkout's folder.
    own = (path for path in root.iterdir() if path.name != ".git")
    yield from (path for path in own if path.is_file() and path.suffix in TEXT_SUFFIXES)


def _sizes(name: str, lines: list[str], tree: ast.Module) -> Iterator[Finding]:
    if len(lines) > FILE_LINES_MAX:
        yield Finding(
            name, len(lines), f"{len(lines)} lines, over {FILE_LINES_MAX}", "split it by what changes together"
        )
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                what = f"{node.name} has {length} lines, over {FUNCTION_LINES_MAX}"
                yield Finding(name, node.lineno, what, "give its parts names of their own")


def _ignores(name: str, lines: list[str]) -> Iterator[Finding]:
    for number, line in enumerate(lines, start=1):
        if _BARE_IGNORE.search(line):
            yield Finding(name, number, "a bare type: ignore", "name the error in brackets, with the reason")


def _broad_excepts(name: str, lines: list[str], tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler) or not _is_broad(node.type) or _raises_on(node):
            continue
        beside = lines[node.lineno - 2 : node.lineno + 1]
        if not any(_is_reason(line) for line in beside):
            yield Finding(
                name, node.lineno, "a broad except without its reason", "name the errors, or say why beside it"
            )


def _is_broad(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(_is_broad(part) for part in kind.elts)
    return kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})


def _raises_on(node: ast.ExceptHandler) -> bool:
    """Say whether the handler only cleans up: it ends by raising what it caught."""
    last = node.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _is_reason(line: str) -> bool:
    comment = re.sub(r"noqa(:\s*[A-Z0-9, ]+)?", "", line.partition("#")[2])
    return len(re.findall(r"[A-Za-z']{2,}", comment)) >= REASON_WORDS_MIN


def _excused(line: str) -> bool:
    """Say whether the line breaks the rule with its reason beside it (`# tidy: ...`)."""
    _, found, reason = line.partition("# tidy:")
    return bool(found) and len(reason.split()) >= REASON_WORDS_MIN


def _sleeps(name: str, tree: ast.Module) -> Iterator[Finding]:
    if name == "tests/eventually.py":
        return
    for line, full in _names(tree):
        if full in {"time.sleep", "asyncio.sleep"}:
            yield Finding(name, line, f"{full} in a test", "wait for a level with eventually(predicate, timeout_s)")


def _decoders(name: str, tree: ast.Module) -> Iterator[Finding]:
    for line, full in _names(tree):
        if full in _DECODERS:
            yield Finding(name, line, f"{full} by itself", _DECODERS[full])


def _edges(name: str, tree: ast.Module) -> Iterator[Finding]:
    for line, full in _names(tree):
        if full in _BANNED:
            yield Finding(name, line, f"{full} away from the edge", _BANNED[full])
        elif full.startswith(("random.", "secrets.")) and full != "random.Random":
            yield Finding(name, line, f"{full} away from the edge", _RANDOM_CURE)


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, full dotted name) of every use of an imported module's member."""
    origins: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                origins[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module:
            origins |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        full = _dotted(node, origins)
        if full is not None:
            yield getattr(node, "lineno", 0), full


def _dotted(node: ast.AST, origins: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return origins.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value, origins)
        return f"{owner}.{node.attr}" if owner else None
    return None
