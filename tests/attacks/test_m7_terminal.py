"""A terminal shows what senders wrote and obeys none of it, whichever command prints it; a pipe gets it exact."""

import http.server
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer

from eventually import eventually
from house import House, running_house
from llmtrail.cli.app import build

# What terminals were made to do by texts, as advisories have it: titles that are read back (CVE-2003-0063), screens
# cleared, links that lie (OSC 8), status strings that answer (DECRQSS, CVE-2008-2383), fonts that answer (OSC 50,
# CVE-2022-45063), clipboards set (OSC 52), lines overwritten, 8-bit controls, text turned round (CVE-2021-42574).
OBEYED = [
    *("\x1b]0;PWNED\x07", "\x1b[21t", "\x1b[2J\x1b[1;1H", "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\"),
    *("\x1bP$q\x1b\\", "\x1b]50;evil\x07", "\x1b]52;c;ZXZpbA==\x07", "\x1b[6n", "\x1b[?1049h", "\x1bc", "\x1b#8"),
    *("safe\rrm -rf", "abc\x08\x08\x08xyz", "\x9b2J", "\x9d0;PWNED\x9c", "\x90q\x9c", "\u202eevil", "\u2066x\u2069"),
    *("\u2028line", "\x7f", "\x0e\x0f", "\ufeff", "\U000e0041"),
]
HOSTILE = "".join(OBEYED)
# Of what a command may write to a terminal itself: colours, styles and ends of lines.
_OWN = re.compile(r"\x1b\[[0-9;]*m|\r\n|[\n\t]|\r?\x1b\[K|\x1b\[\?25[hl]")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")


@dataclass
class Stored:
    """A running house full of hostile texts."""

    house: House
    folder: Path
    letter: str


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    folder = tmp_path_factory.mktemp("terminal")
    names = ("user_id", "feature", "session_id", "service", "environment", "prompt", "output", "provider", "operation")
    event = {
        "started_at": time.time_ns(),
        "request_id": "r-1",
        "request_model": HOSTILE,
        "response_model": HOSTILE,
        "status": "error",
        "error": {"type": HOSTILE, "message": HOSTILE},
        "versions": {"prompt": HOSTILE, "prompt_name": HOSTILE, "release": HOSTILE},
        "attributes": {HOSTILE: HOSTILE},
        "retrieval": {"query": HOSTILE, "documents": [HOSTILE]},
        "parser": {"status": "failed", "error": HOSTILE},
        "attempts": [{"number": 1, "outcome": HOSTILE, "error": {"type": HOSTILE, "message": HOSTILE}}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
        **dict.fromkeys(names, HOSTILE),
    }
    bad = {"request_model": HOSTILE, "started_at": HOSTILE, "call_id": HOSTILE}
    with running_house(folder) as house:
        answer = house.post(json.dumps([event, bad]))
        assert answer.json["accepted"] == 1, answer.body
        house.request("r-1")
        place = "SELECT topic || '/' || toString(partition) || '/' || toString(offset) FROM llmtrail.dead_letters"
        eventually(lambda: house.sql(place))
        yield Stored(house, folder, str(house.sql(place)[0][0]))


def on_terminal(words: list[str], folder: Path, **environment: str) -> str:
    """Run a command on a terminal of its own; return what it wrote there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "llmtrail", *words]
    variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200", "PYTHONUTF8": "1", **environment}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=folder, env=variables
    )
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # how Linux says that nobody holds the other end any more
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    process.wait(60)
    return written.decode("utf-8", "surrogateescape")


def obeyed(written: str) -> list[str]:
    return _UNSEEN.findall(_OWN.sub("", written))


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[str]:
    """Serve one answer to whoever asks; yield the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the base class names it so.

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so.
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# Each command that prints what others wrote, and a text of theirs that must be seen.
COMMANDS: dict[str, tuple[list[str], str]] = {
    "show": (["show", "r-1", "--full"], "PWNED"),
    "show --json": (["show", "r-1", "--json"], "PWNED"),
    "sql": (["sql", "SELECT user_id, prompt FROM calls LEFT JOIN bodies USING (call_id)"], "PWNED"),
    "sql TSVRaw": (["sql", "--format", "TSVRaw", "SELECT user_id FROM calls"], "PWNED"),
    "sql RawBLOB": (["sql", "--format", "RawBLOB", "SELECT user_id FROM calls"], "PWNED"),
    "sql JSON": (["sql", "--json", "SELECT user_id FROM calls"], "PWNED"),
    "sql CSV": (["sql", "--format", "CSV", "SELECT user_id FROM calls"], "PWNED"),
    "sql Vertical": (["sql", "--format", "Vertical", "SELECT * FROM calls"], "PWNED"),
    "sql error": (["sql", "SELECT toUInt8(assumeNotNull(user_id)) FROM calls"], "PWNED"),
    "sql bytes": (["sql", "--format", "RawBLOB", "SELECT unhex('9b324aff1b5b324a')"], "\\x1b[2J"),
    "stats": (["stats", "--by", "feature"], "PWNED"),
    "stats --json": (["stats", "--by", "user", "--json"], "PWNED"),
    "dead-letters list": (["dead-letters", "list"], "started_at"),
    "dead-letters list --json": (["dead-letters", "list", "--json"], "started_at"),
    "dead-letters show": (["dead-letters", "show", "LETTER"], "PWNED"),
    # A model is named in lower case.
    "doctor": (["doctor"], "pwned"),
    "doctor --json": (["doctor", "--json"], "pwned"),
}
# Of the others: why nothing foreign can be in what they print, or which test below tries them.
OTHERS = {
    "alert": "test-send prints what a channel answers: below",
    "check": "prints names of the user's own rules: below",
    "gpu": "prints pages of exporters: below",
    "reconcile": "prints names of models out of a bill: below",
    "aggregate": "a role: prints where it listens, and logs",
    "ingest": "a role: prints where it listens, and logs",
    "web": "a role: prints where it listens, and logs",
    "up": "prints where it listens, and logs",
    "demo": "its own applications and texts; views are of `safe_line`",
    "migrate": "names of migrations",
    "move": "names of tables and topics, counts",
    "replay": "counts; the trace's numbers",
    "reprice": "counts and sums; deployments of the user's own settings",
    "tokens": "names and scopes of the user's own file",
    "topics": "names of topics as described; Kafka's own errors are one line, `safe`",
}


@pytest.mark.attack("M7", "beside them: no command is left out")
def test_every_command_is_tried_or_has_its_reason() -> None:
    group = typer.main.get_command(build())
    names = set(group.commands)  # type: ignore[attr-defined]  # typer's own group
    tried = {name.split()[0] for name in COMMANDS}
    assert names == tried | set(OTHERS)


@pytest.mark.attack("M7", "beside them: no command writes past the one place")
def test_commands_write_to_the_terminal_in_one_place() -> None:
    folder = Path(__file__).parents[2] / "src" / "llmtrail" / "cli"
    writes = re.compile(r"(?<![\w.])print\(|sys\.std(out|err)\.(write|buffer)|typer\.(echo|secho)|click\.(echo|secho)")
    found = [
        f"{file.name}:{number}: write with terminal.print_text, print_json or print_bytes"
        for file in sorted(folder.glob("*.py"))
        if file.name != "terminal.py"
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if writes.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.attack("M7", "a sender's texts hold escape sequences, 8-bit controls and bidirectional characters")
@pytest.mark.parametrize("case", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_terminal_obeys_nothing_that_is_stored(stored: Stored, case: tuple[list[str], str]) -> None:
    words, seen = case
    words = [stored.letter if word == "LETTER" else word for word in words]
    written = on_terminal([*words, "--data", str(stored.folder)], stored.folder)
    assert obeyed(written) == []
    assert seen in _OWN.sub("", written), written


@pytest.mark.attack("M7", "nothing runs: the folder is read by the command itself")
def test_a_terminal_obeys_nothing_of_a_folder_without_a_process(tmp_path: Path) -> None:
    with running_house(tmp_path) as house:
        event = {"started_at": time.time_ns(), "request_id": "r-1", "request_model": "m", "user_id": HOSTILE}
        assert house.post(json.dumps(event)).status == 200
        house.request("r-1")
    for words in (["sql", "SELECT user_id FROM calls"], ["show", "r-1"]):
        written = on_terminal([*words, "--data", str(tmp_path)], tmp_path)
        assert obeyed(written) == []
        assert "PWNED" in written


@pytest.mark.attack("M7", "a server's answers, not a sender's texts, hold them")
@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_terminal_obeys_nothing_that_another_server_answers(tmp_path: Path, status: int) -> None:
    with answering(HOSTILE.encode(), status) as url:
        for words in (["show", "r-1"], ["stats"], ["sql", "SELECT 1", "--sql-address", url]):
            assert obeyed(on_terminal([*words, "--address", url, "--data", str(tmp_path)], tmp_path)) == []
        assert obeyed(on_terminal(["gpu", "--once", f"{url}/metrics"], tmp_path)) == []
        assert obeyed(on_terminal(["gpu", "--once", f"{url}/metrics", "--json"], tmp_path)) == []


PAGE = (
    '# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",Hostname="%s",modelName="%s"} 7\n'
    'vllm:num_requests_running{model_name="%s"} 1\nnonsense %s\n'
)


@pytest.mark.attack("M7", "an exporter's labels, a bill's models, a rule's name and a channel's answer hold them")
def test_a_terminal_obeys_nothing_of_files_and_pages(tmp_path: Path) -> None:
    label = HOSTILE.replace("\\", "\\\\").replace("\n", "").replace('"', "")
    with answering((PAGE % (label, label, label, label)).encode()) as url:
        assert obeyed(on_terminal(["gpu", "--once", f"{url}/metrics"], tmp_path)) == []
    bill = tmp_path / "bill.csv"
    bill.write_text(
        "day,model,amount\n2026-11-20," + HOSTILE.replace("\r", "").replace("\u2028", "") + ",1.00\n", newline=""
    )
    with running_house(tmp_path / "house") as house:
        written = on_terminal(
            ["reconcile", str(bill), "--provider", "openai", "--data", str(tmp_path / "house")], tmp_path
        )
        assert obeyed(written) == []
        assert house.process.poll() is None
    rules = tmp_path / "rules"
    rules.mkdir()
    name = json.dumps("\x1b]0;PWNED\x07\x9b2J\u202e", ensure_ascii=True)
    (rules / "budgets.toml").write_text(f"[[budget]]\nname = {name}\nlimit = {name}\n")
    assert obeyed(on_terminal(["check", "--rules", str(rules)], tmp_path)) == []
    (rules / "budgets.toml").write_text("\x1b]0;PWNED\x07 = [")
    assert obeyed(on_terminal(["check", "--rules", str(rules)], tmp_path)) == []
    (rules / "budgets.toml").unlink()
    with answering(HOSTILE.encode(), 400) as url:
        channel = f'[channels.hook]\nkind = "webhook"\nurl = "{url}"\n'
        (rules / "owners.toml").write_text(channel)
        assert obeyed(on_terminal(["alert", "test-send", "--rules", str(rules)], tmp_path)) == []


@pytest.mark.attack("M7", "the user's own words are wrong and hold them")
def test_an_error_repeats_no_escape_sequence(tmp_path: Path) -> None:
    for words in (
        ["show", HOSTILE.replace("\0", "")],
        ["dead-letters", "show", HOSTILE],
        ["sql", "SELECT 1", "--address", HOSTILE],
    ):
        assert obeyed(on_terminal([*words, "--data", str(tmp_path)], tmp_path)) == []


@pytest.mark.attack("M7", "beside them: a pipe gets what is stored, byte for byte, but for formulas in CSV")
def test_into_a_pipe_results_are_exact(stored: Stored) -> None:
    def piped(*words: str) -> bytes:
        command = [sys.executable, "-m", "llmtrail", "sql", *words, "--data", str(stored.folder)]
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout

    assert piped("--format", "RawBLOB", "SELECT user_id FROM calls").decode() == HOSTILE
    assert piped("--format", "RawBLOB", "SELECT unhex('00ff9b0d0a1b')") == b"\x00\xff\x9b\r\n\x1b"
    formula = "SELECT '=1+1' AS a, -5 AS b, '-x' AS c"
    assert piped("--format", "CSV", formula) == b'"\'=1+1",-5,"\'-x"\n'
    assert piped(f"{formula} FORMAT CSVWithNames") == b'"a","b","c"\n"\'=1+1",-5,"\'-x"\n'
    assert piped("--exact", "--format", "CSV", formula) == b'"=1+1",-5,"-x"\n'
    assert piped("--format", "TSV", formula) == b"=1+1\t-5\t-x\n"
    assert urlsplit(stored.house.sql_url).port
