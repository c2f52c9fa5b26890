"""Finds in the code who reads a topic: whatever names one in a call, but for what is known to read nothing."""

import ast
from collections.abc import Iterator
from pathlib import Path

from llmtrail.log import port

Named = tuple[str, str]  # a module's file, and a topic

# Calls that name a topic and read nothing of it; whatever else names one in a call is taken for a reader.
_WRITE = {"Append", "Deliveries", "acknowledged", "topic"}
_PLACE = {"commit", "committed", "end", "start", "wait", "plan", "plans", "partitions", "topic_id", "states", "_mine"}
_MANAGE = {"fromkeys", "check_takes", "_group", "GroupSettings"}  # who reads for a group calls `read`
_SAY = {"unread", "_unread", "partial", "warning", "LogClosedError", "RuntimeError"}
_READS_NOTHING = _WRITE | _PLACE | _MANAGE | _SAY
TOPICS = {name: value for name, value in vars(port).items() if isinstance(value, str) and value.startswith("llm.")}


def named_readers(root: Path) -> set[Named]:
    """Return the files of the code that read a topic, and which."""
    found = set[Named]()
    for folder in (root / "src", *(root / "services").iterdir()):
        for file in folder.rglob("*.py"):
            if topics := readers_in(file.read_text(encoding="utf-8")):
                found |= {(str(file.relative_to(folder)), topic) for topic in topics}
    return found


def readers_in(code: str) -> set[str]:
    """Return the topics that a file's code reads."""
    tree = ast.parse(code)
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == port.__name__)
    names = {alias.asname or alias.name: TOPICS.get(alias.name, "") for node in imports for alias in node.names}
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    reading = (call for call in calls if _name_of(call.func) not in _READS_NOTHING)
    # What is shown to everybody is written.
    given = (
        one for call in reading for one in (*call.args, *(word.value for word in call.keywords if word.arg != "shown"))
    )
    return {topic for one in given for name in _names_in(one) if (topic := names.get(name))}


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _names_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call | ast.Lambda):
        return  # a call of its own
    if isinstance(node, ast.Name):
        yield node.id
    for inner in ast.iter_child_nodes(node):
        yield from _names_in(inner)
