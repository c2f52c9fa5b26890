"""Draw Slack's messages as a picture: `python tests/alert_picture.py FILE.png` needs a Chromium on the path.

It draws blocks and markup in the way of Slack's clients, so that a person sees what will be seen; it is no client.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from alert_house import PAGE
from alert_messages import CASES
from llmtrail_alerts.channels import slack

SHOWN = ("hard-limit", "retry-storm", "summary-of-10000-users", "resolved")
_WIDTH_PX, _HEIGHT_PX = 1_240, 1_150
_COLOURS = {"🔴": "#d3342f", "🟠": "#e8912d", "🟡": "#e6c229", "🔵": "#2f6fd3", "✅": "#2f9e44"}
_STYLE = """
i { display: inline-block; width: 13px; height: 13px; border-radius: 50%; margin-right: 4px; }
body { font: 14px/1.4 'DejaVu Sans', sans-serif; margin: 14px; color: #1d1c1d; columns: 2; column-gap: 18px; }
article { break-inside: avoid; border: 1px solid #ddd; border-radius: 8px; padding: 10px 14px; margin-bottom: 14px; }
h1 { font-size: 16px; margin: 0 0 8px; } p { margin: 6px 0; overflow-wrap: anywhere; }
.fields { display: grid; grid-template-columns: 1fr 1fr; gap: 6px 14px; }
code { color: #c01343; background: #f6f6f6; border: 1px solid #e5e5e5; border-radius: 3px; padding: 0 3px; }
pre { background: #f6f6f6; border: 1px solid #e5e5e5; border-radius: 4px; padding: 6px; margin: 4px 0;
 white-space: pre-wrap; font-size: 12px; }
small { color: #616061; } a { color: #1264a3; text-decoration: none; }
"""


def html(payloads: list[dict[str, Any]]) -> str:
    """Return a page with the messages, one below the other."""
    articles = "".join(f"<article>{''.join(_block(one) for one in made['blocks'])}</article>" for made in payloads)
    return f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style>{articles}"


def _block(block: dict[str, Any]) -> str:
    match block["type"]:
        case "header":
            return f"<h1>{_signed(block['text']['text'])}</h1>"
        case "section" if "fields" in block:
            return f"<div class=fields>{''.join(f'<div>{_markup(one)}</div>' for one in block['fields'])}</div>"
        case "section":
            return f"<p>{_markup(block['text'])}</p>"
        case _:
            return f"<p><small>{' &nbsp; '.join(_markup(one) for one in block['elements'])}</small></p>"


def _signed(text: str) -> str:
    """Return a header with its sign as a dot: few machines have a font of such signs."""
    return re.sub("[" + "".join(_COLOURS) + "]", lambda sign: f'<i style="background:{_COLOURS[sign[0]]}"></i>', text)


def _markup(text: dict[str, Any]) -> str:
    """Return mrkdwn as HTML; its escapes are HTML's own."""
    made = re.sub(r"<!date\^(\d+)\^[^|]*\|([^>]*)>", r"\2", text["text"])
    made = re.sub(r"<(https?://[^|>]*)\|([^>]*)>", r'<a href="\1">\2</a>', made)
    made = re.sub(r"```(.*?)```", r"<pre>\1</pre>", made, flags=re.DOTALL)
    made = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", made)
    made = re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", made)
    return re.sub(r"\n(?!<pre>)", "<br>", made)


def draw(payloads: list[dict[str, Any]], file: Path) -> None:
    """Write the picture of the messages."""
    program = shutil.which("chromium") or sys.exit("needs chromium")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(html(payloads), encoding="utf-8")
        flags = "--headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-sync"
        flags += " --disable-background-networking --disable-component-update"
        arguments = [*flags.split(), f"--user-data-dir={folder}/user", f"--window-size={_WIDTH_PX},{_HEIGHT_PX}"]
        arguments += [f"--screenshot={file.resolve()}", page.as_uri()]
        subprocess.run([program, *arguments], check=True, capture_output=True, timeout=60)


if __name__ == "__main__":
    draw([slack.payload([CASES[name]], PAGE) for name in SHOWN], Path(sys.argv[1]))
