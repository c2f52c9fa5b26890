"""Lay statistics of GPUs out as tables for a terminal. Knows the document's shape only; decides nothing.

Names are what senders wrote: they go through `safe_line`, and into `Text`, which reads no markup.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llmtrail.cli.safe_text import safe_line
from llmtrail.cli.stats_view import WINDOWS
from llmtrail.cli.wording import count, duration

_NAME_WIDTH: Final = 40
_GAP: Final = 2
# From here on a share is coloured: memory or cache is nearly full.
_FULL: Final = 0.9
# A target that was not heard of for so many of its intervals is told as silent.
_SILENT_INTERVALS: Final = 3
_NOTES_MAX: Final = 10
_NONE: Final = "-"

Told = Mapping[str, Any]
Column = tuple[str, Callable[[Told], Text]]


def shown(document: Told, width: int) -> RenderableType:
    """Return a document of `/v1/gpu` as tables with a heading and what is to be said of targets."""
    del width  # Columns that nothing is told in are left out; the rest folds.
    window = WINDOWS.get(document["window"], document["window"])
    heading = Text(f"{window} of GPUs", style="bold")
    devices, engines = document["devices"], document["engines"]
    heading.append(f" · {count(len(devices), 'GPU')}, {count(len(engines), 'model')}", style="dim")
    if document["as_of"] is not None:
        heading.append(
            f" · newest sample counted {duration(_age_s(document, document['as_of']) * 1_000)} ago", style="dim"
        )
    parts: list[RenderableType] = [heading]
    if devices:
        parts.append(_table(devices, _DEVICE_COLUMNS))
    if engines:
        parts += [Text(""), _table(engines, _ENGINE_COLUMNS)]
    notes = list(_notes(document))
    parts += [Text(note, style="yellow") for note in notes[:_NOTES_MAX]]
    if len(notes) > _NOTES_MAX:
        parts.append(Text(f"and {len(notes) - _NOTES_MAX} more", style="yellow"))
    return Group(*parts)


def _table(rows: Sequence[Told], columns: Sequence[Column]) -> Table:
    cells = {name: [cell(row) for row in rows] for name, cell in columns}
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold dim")
    told = [name for name, column in cells.items() if any(one.plain != _NONE for one in column)]
    for name in told:
        is_name = name in _NAMES
        table.add_column(name, justify="left" if is_name else "right", overflow="fold", no_wrap=not is_name)
    for row in range(len(rows)):
        table.add_row(*(cells[name][row] for name in told))
    return table


def _name(field: str) -> Callable[[Told], Text]:
    return lambda row: Text(safe_line(str(row[field]), _NAME_WIDTH) or _NONE, style="cyan")


def _gpu(row: Told) -> Text:
    number = row["gpu_uuid"] if row["gpu_index"] is None else row["gpu_index"]
    mig = f" MIG {row['mig_instance']}" if row["mig_instance"] else ""
    return Text(safe_line(f"{number}{mig}", _NAME_WIDTH), style="cyan")


def _share(field: str, part: str, *, full: float | None = None) -> Callable[[Told], Text]:
    def cell(row: Told) -> Text:
        if row[field] is None:
            return Text(_NONE)
        value = row[field][part]
        return Text(f"{value:.0%}", style="red" if full is not None and value >= full else "")

    return cell


def _figure(field: str, part: str = "", unit: str = "") -> Callable[[Told], Text]:
    def cell(row: Told) -> Text:
        value = row[field] if not part or row[field] is None else row[field][part]
        return Text(_NONE if value is None else f"{value:,.0f}{unit}")

    return cell


def _grown(field: str) -> Callable[[Told], Text]:
    return lambda row: Text(_NONE) if row[field] is None else Text(f"{row[field]:,}", style="red" if row[field] else "")


def _hits(row: Told) -> Text:
    share = row["prefix_cache_hit_share"]
    return Text(_NONE if share is None else f"{share:.0%}")


def _first_token(row: Told) -> Text:
    told = row["time_to_first_token_ms"]
    return Text(_NONE if told is None else duration(told["mean"]))


def _throttled(row: Told) -> Text:
    reasons = [f"{safe_line(reason, _NAME_WIDTH)} {share:.0%}" for reason, share in row["throttled"].items()]
    return Text("\n".join(reasons) or _NONE, style="yellow" if reasons else "")


def _xids(row: Told) -> Text:
    codes = [f"XID {one['xid']} ({one['class']})" for one in row["xids"]]
    return Text("\n".join(dict.fromkeys(codes)) or _NONE, style="bold red" if codes else "")


_DEVICE_COLUMNS: Final[Sequence[Column]] = (
    ("node", _name("host")),
    ("GPU", _gpu),
    ("pod", _name("pod")),
    ("busy", _share("utilization", "mean")),
    ("most", _share("utilization", "max")),
    ("memory", _share("memory_used_share", "max", full=_FULL)),
    ("heat", _figure("temperature_c", "max", " °C")),
    ("power", _figure("power_w", "mean", " W")),
    ("of", _figure("power_limit_w", unit=" W")),
    ("held down by", _throttled),
    ("error", _xids),
    ("ECC corrected", _grown("ecc_corrected")),
    ("uncorrected", _grown("ecc_uncorrected")),
)
_ENGINE_COLUMNS: Final[Sequence[Column]] = (
    ("node", _name("host")),
    ("server", _name("address")),
    ("model", _name("model")),
    ("KV-cache", _share("kv_cache_used", "max", full=_FULL)),
    ("queue", _figure("waiting", "mean")),
    ("longest", _figure("waiting", "max")),
    ("running", _figure("running", "mean")),
    ("tokens/s", _figure("tokens_s", "mean")),
    ("first token", _first_token),
    ("preempted", _grown("preemptions")),
    ("prefix hits", _hits),
)
_NAMES: Final = {"node", "GPU", "pod", "server", "model", "held down by", "error"}


def _notes(document: Told) -> Iterator[str]:
    if not document["targets"]:
        where = "" if document["as_of"] is None else " of this node, though of others"
        yield f"No collector was heard of in the last day{where}: see `llmtrail gpu`."
    for target in document["targets"]:
        name = f"{safe_line(target['host'], _NAME_WIDTH)} {safe_line(target['target'], _NAME_WIDTH)}"
        silent_s = _age_s(document, target["last_arrived_at"])
        if silent_s > (target["interval_s"] or 60.0) * _SILENT_INTERVALS:
            yield f"{name}: silent for {duration(silent_s * 1_000)}."
        elif target["last_error"]:
            yield f"{name}: {safe_line(target['last_error'], 2 * _NAME_WIDTH)}"


def _age_s(document: Told, at: str) -> float:
    now = datetime.fromisoformat(document["now"])
    return max((now - datetime.fromisoformat(at)).total_seconds(), 0.0)
