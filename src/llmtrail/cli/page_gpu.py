"""What the GPUs did around a call, for its page. Knows the document's shape only; decides nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from llmtrail.cli.safe_text import safe_line
from llmtrail.cli.wording import duration, plain
from llmtrail.core.xid import xid_of

_NAME_WIDTH = 120
_ERROR_WIDTH = 400
_GIB = 1024**3
# From here on a figure is coloured: the cache or memory is nearly full, the GPU is hot.
_FULL = 0.9
_HOT_C = 85.0
# More GPUs of which nothing is to be said than this become a line each: a node's eight would fill two screens.
_WHOLE_MAX = 2
_WAYS = {
    "config": "by the deployment {}",
    "address": "by the server's address",
    "pod": "by the name of its pod",
    "host": "by the host that the call ran on",
}

Told = Mapping[str, Any]


def gpu_parts(call: Told) -> Iterator[RenderableType]:
    """Yield the GPUs and model servers of a call beside its time line; nothing where none are known."""
    found = call.get("gpu")
    if not isinstance(found, Mapping):
        return
    way = _WAYS.get(plain(found.get("told_by") or ""), "").format(plain(found.get("deployment") or ""))
    yield Text("")
    yield Padding(Text("GPUs ", style="bold").append(safe_line(f"found {way}", _NAME_WIDTH), style="dim"), (0, 1))
    for one in _listed(found.get("engines")):
        yield Padding(_table(one, _engine_name(one), _ENGINE_COLUMNS), (0, 1))
    gpus = _listed(found.get("gpus"))
    quiet = [one for one in gpus if not _stands_out(one)]
    brief = quiet if len(quiet) > _WHOLE_MAX else []
    for one in gpus:
        if one not in brief:
            yield Padding(_table(one, _gpu_name(one), _GPU_COLUMNS), (0, 1))
    if brief:
        yield Padding(_overview(brief), (0, 1))
    for line in _errors(found):
        yield Padding(Text(safe_line(line, _ERROR_WIDTH), style="red"), (0, 1))
    yield Padding(Text(safe_line(_clocks(found.get("clocks") or {}), 400), style="dim"), (0, 1))


def _errors(found: Told) -> Iterator[str]:
    """Yield what each error of the driver means and what to do about it, once each."""
    samples = [sample for one in _listed(found.get("gpus")) for sample in _listed(one.get("samples"))]
    for code in dict.fromkeys(code for sample in samples if isinstance(code := sample.get("xid"), int)):
        known = xid_of(code)
        yield f"XID {code} ({known.kind}): {known.meaning}. {known.advice}"


def _listed(value: object) -> list[Told]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list | tuple) else []


def _table(one: Told, name: str, columns: Iterable[tuple[str, Any]]) -> Table:
    shown = list(columns)
    title = Text(safe_line(name, _NAME_WIDTH), style="cyan")
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False, title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for heading, _ in shown:
        table.add_column(heading, justify="right", overflow="fold")
    for sample in _listed(one.get("samples")):
        during = sample.get("phase") == "during"
        table.add_row(
            Text(_when(sample), style="" if during else "dim"),
            *(cell(sample) for _, cell in shown),
            style="" if during else "dim",
        )
    return table


def _stands_out(gpu: Told) -> bool:
    """Say whether something of a GPU may be the reason: an error, clocks held down, heat."""
    return any(
        sample.get("xid") is not None
        or sample.get("throttle_reasons")
        or (isinstance(heat := sample.get("temperature_c"), int | float) and heat >= _HOT_C)
        for sample in _listed(gpu.get("samples"))
    )


def _overview(gpus: Sequence[Told]) -> Table:
    """Return a line for each GPU: the least and the most that its samples tell."""
    title = Text(f"{len(gpus)} GPUs without errors, throttling or heat; --json has every sample", style="cyan")
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False, title=title, title_justify="left")
    table.add_column("", overflow="fold")
    for heading, _, _ in _RANGES:
        table.add_column(heading, justify="right", no_wrap=True)
    for gpu in gpus:
        samples = _listed(gpu.get("samples"))
        cells = (_range(samples, names, shape) for _, names, shape in _RANGES)
        table.add_row(safe_line(_gpu_place(gpu), _NAME_WIDTH), *cells)
    return table


def _range(samples: Sequence[Told], names: Sequence[str], shape: str) -> str:
    told = [next((value for name in names if (value := sample.get(name)) is not None), None) for sample in samples]
    values = [value for value in told if isinstance(value, int | float)]
    if not values:
        return "-"
    least, most = shape.format(min(values)), shape.format(max(values))
    return most if least == most else f"{least} to {most}"


def _when(sample: Told) -> str:
    after_ms = sample.get("after_start_ms")
    if not isinstance(after_ms, int):
        return ""
    sign = "+" if after_ms >= 0 else "-"
    return f"{sample.get('phase', '')} {sign}{duration(abs(after_ms))}"


def _share(name: str, *, full: float | None = None) -> Any:
    def cell(sample: Told) -> Text:
        value = sample.get(name)
        if not isinstance(value, int | float):
            return Text("-")
        return Text(f"{value:.0%}", style="red" if full is not None and value >= full else "")

    return cell


def _figure(name: str, unit: str = "", *, high: float | None = None) -> Any:
    def cell(sample: Told) -> Text:
        value = sample.get(name)
        if not isinstance(value, int | float):
            return Text("-")
        return Text(f"{value:,.0f}{unit}", style="red" if high is not None and value >= high else "")

    return cell


def _busy(sample: Told) -> Text:
    # MIG instances tell no utilization, only how active their engine was.
    name = "utilization" if sample.get("utilization") is not None else "engine_active"
    told: Text = _share(name)(sample)
    return told


def _memory(sample: Told) -> Text:
    used, total = sample.get("memory_used_bytes"), sample.get("memory_total_bytes")
    if not isinstance(used, int):
        return Text("-")
    if not isinstance(total, int) or not total:
        return Text(f"{used / _GIB:.1f} GiB")
    return Text(f"{used / _GIB:.1f} of {total / _GIB:.0f} GiB", style="red" if used / total >= _FULL else "")


def _throttle(sample: Told) -> Text:
    reasons = sample.get("throttle_reasons")
    if not isinstance(reasons, list | tuple) or not reasons:
        return Text("-")
    return Text(safe_line(", ".join(plain(reason) for reason in reasons), _NAME_WIDTH), style="yellow")


def _xid(sample: Told) -> Text:
    return Text("-") if sample.get("xid") is None else Text(f"XID {sample['xid']}", style="bold red")


def _prefix(sample: Told) -> Text:
    hits, asked = sample.get("prefix_cache_hits"), sample.get("prefix_cache_queries")
    return Text(f"{hits / asked:.0%}") if isinstance(hits, int) and isinstance(asked, int) and asked else Text("-")


_GPU_COLUMNS = (
    ("busy", _busy),
    ("memory", _memory),
    ("heat", _figure("temperature_c", " °C", high=_HOT_C)),
    ("power", _figure("power_w", " W")),
    ("clock", _figure("sm_clock_mhz", " MHz")),
    ("held down by", _throttle),
    ("error", _xid),
)
# What a line of the overview tells: by the first of these names that a sample has.
_RANGES = (
    ("busy", ("utilization", "engine_active"), "{:.0%}"),
    ("heat", ("temperature_c",), "{:.0f} °C"),
    ("power", ("power_w",), "{:,.0f} W"),
    ("clock", ("sm_clock_mhz",), "{:,.0f} MHz"),
)
_ENGINE_COLUMNS = (
    ("KV-cache", _share("kv_cache_used", full=_FULL)),
    ("queue", _figure("waiting")),
    ("running", _figure("running")),
    ("tokens/s", _figure("tokens_s")),
    ("first token", lambda sample: Text(duration(sample.get("time_to_first_token_ms")))),
    ("preempted", _figure("preemptions")),
    ("prefix hits", _prefix),
)


def _gpu_name(one: Told) -> str:
    parts = [_gpu_place(one), *(plain(one[name]) for name in ("gpu_name", "pod", "gpu_uuid") if one.get(name))]
    return " · ".join(parts)


def _gpu_place(one: Told) -> str:
    number = f" {one['gpu_index']}" if one.get("gpu_index") is not None else ""
    mig = (
        f" · MIG {plain(one.get('mig_profile') or '')} #{plain(one['mig_instance'])}" if one.get("mig_instance") else ""
    )
    return f"{plain(one.get('host') or '')} GPU{number}{mig}"


def _engine_name(one: Told) -> str:
    return " · ".join(plain(one[name]) for name in ("engine", "model", "address", "pod") if one.get(name))


def _clocks(clocks: Told) -> str:
    nodes = clocks.get("nodes")
    told = [("the application", clocks.get("application"))]
    told += list(nodes.items()) if isinstance(nodes, Mapping) else []
    return "clocks against the log's: " + " · ".join(f"{plain(name)} {_gap(gap)}" for name, gap in told)


def _gap(gap: object) -> str:
    if not isinstance(gap, Mapping):
        return "not measured, 5 s allowed for"
    least, most = gap.get("ahead_ms_min"), gap.get("ahead_ms_max")
    if not isinstance(least, int) or not isinstance(most, int):
        return "not measured"
    off = " (beyond the 5 s allowed for: set it right)" if gap.get("beyond_allowance") else ""
    return f"{least / 1000:+.1f} to {most / 1000:+.1f} s{off}"
