"""`llmtrail up` keeps who used a token and who read what: through a restart, and as `llmtrail tokens list` says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from eventually import eventually
from house import House, running_house
from llmtrail.core.access.authenticate import hash_token
from tokens import strong, write_private

READER, SHOP = strong("reader"), strong("shop")
CONFIG = f'[ingest.tokens.reader]\ntoken = "{READER}"\nscopes = ["read", "content"]\n'
KEPT_S_MAX = 20.0


def llmtrail(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "llmtrail", *arguments, "--data", str(folder)]
    command += ["--config", str(folder / "llmtrail.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed(folder: Path, *arguments: str) -> dict[str, Any]:
    return {row["name"]: row for row in json.loads(llmtrail(folder, "tokens", "list", "--json", *arguments))}


def test_tokens_are_listed_with_their_last_use_and_changes_of_them_are_on_record(tmp_path: Path) -> None:
    folder = tmp_path / "house"
    folder.mkdir()
    (folder / "llmtrail.toml").write_text(CONFIG)
    shop = llmtrail(folder, "tokens", "new", "shop", "--scopes", "ingest", "--tenant", "acme").strip()
    assert "last_used" not in listed(folder)["shop"]
    assert "no llmtrail runs" in llmtrail(folder, "tokens", "list")
    with running_house(folder, CONFIG, READER) as house:
        sender = House(house.http_url, house.sql_url, house.process, shop)
        assert sender.ask("GET", "/v1/stats").status == 403
        assert sender.ask("GET", "/v1/stats").status == 403
        assert sender.post('{"started_at": 1795000000000000000, "request_model": "m"}').status == 200

        def row() -> dict[str, Any]:
            found: dict[str, Any] = listed(folder, "--token", READER)["shop"]
            return found

        eventually(lambda: row()["last_used"] is not None and row()["refused"] > 0, KEPT_S_MAX)
        assert row()["from"] == "127.0.0.1"
        # A second secret, then the first one revoked: the rotation that the guide describes.
        later = llmtrail(folder, "tokens", "new", "shop", "--scopes", "ingest", "--tenant", "acme").strip()
        newer = House(house.http_url, house.sql_url, house.process, later)
        eventually(lambda: newer.post("[]").status == 200, KEPT_S_MAX)
        llmtrail(folder, "tokens", "revoke", "shop", "--secret", hash_token(shop)[:12])
        eventually(lambda: sender.post("[]").status == 401, KEPT_S_MAX)
        write_private(folder / "tokens.toml", "[tokens.")
        changed = "SELECT action, name FROM audit WHERE kind = 'token' AND action != 'used' ORDER BY changed_at"
        wanted = [["rotated", "shop"], ["rotated", "shop"], ["refused", ""]]
        eventually(lambda: house.sql(changed) == wanted, KEPT_S_MAX)
        told = str(house.sql("SELECT before, after, detail FROM audit"))
        assert shop not in told
        assert later not in told
        seen = house.sql("SELECT count() FROM audit")
    write_private(folder / "tokens.toml", "# none\n")
    # What was written stays, and what was left in memory at the end is stored at the next start.
    with running_house(folder, CONFIG, READER) as again:
        eventually(lambda: again.sql("SELECT count() FROM audit")[0][0] >= seen[0][0], KEPT_S_MAX)
        counted = "SELECT toUInt32(sum(times)) FROM audit WHERE actor = 'shop' AND reason = 'scope'"
        assert again.sql(counted) == [[2]]


def test_without_tokens_reads_are_kept_with_their_address(tmp_path: Path) -> None:
    with running_house(tmp_path / "house") as house:
        assert (
            house.post('{"started_at": 1795000000000000000, "request_model": "m", "request_id": "r-1"}').status == 200
        )
        house.request("r-1")
        who = "SELECT DISTINCT actor, address FROM audit WHERE action = 'read' AND name = 'r-1'"
        eventually(lambda: house.sql(who) == [["", "127.0.0.1"]], KEPT_S_MAX)
        # Health checks and metrics are no reads of content, and need no token.
        assert house.ask("GET", "/healthz").status == 200
        assert house.sql("SELECT count() FROM audit WHERE action IN ('refused', 'used')") == [[0]]
