"""`llmtrail doctor`: what is wrong with this installation, and what to do about it."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from llmtrail.cli.client import House, find_house, get_json, stream_sql
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings
from llmtrail.cli.safe_text import safe_line
from llmtrail.cli.terminal import print_json, print_text
from llmtrail.cli.topics import topic_differences
from llmtrail.cli.wording import count, money
from llmtrail.config import Config, KafkaConfig, store_tls, store_url
from llmtrail.config_load import Loaded

EXAMPLE = example("llmtrail doctor", "llmtrail doctor --json", "llmtrail doctor --settings")
# Below this ClickHouse's merges and the log soon have no room.
FREE_BYTES_MIN = 2 * 1024**3
_EXTRAS = {"server": "starlette", "embedded": "chdb", "grpc": "grpc", "kafka": "confluent_kafka", "aggregator": "faust"}
_UNPRICED = """SELECT ifNull(unpriced_reason, 'unknown') AS reason,
    calls.model AS model, count() AS calls
    FROM calls WHERE cost_nanousd IS NULL AND ingest_day >= today() - 7
    GROUP BY reason, model ORDER BY calls DESC LIMIT 10"""
_PRICE_CURE = "add a dated price to the file that [pricing] overrides names, then llmtrail reprice"
# What to do about calls without a cost, by the reason that is stored with them.
_UNPRICED_CURES = {
    "no_usage": "none where they failed; else let the client ask for usage (stream_options)",
    "incomplete_usage": "the sender reports one of input and output tokens alone; let it report both (pricing.md)",
    "inconsistent_usage": "no price mends it: the sender counts by another rule, its parts exceed or miss their total; "
    "let it send the provider's own usage object, or its total_tokens (pricing.md)",
    "ambiguous_usage": "no price mends it: cached tokens may be audio or image; let the sender report how many are "
    "(cache_read_audio_tokens, cache_read_image_tokens; pricing.md)",
    "unknown_model": "say in [models.aliases] which model this name is (a deployment, a route), or add a dated price "
    "to the file that [pricing] overrides names, then llmtrail reprice",
    "unknown_provider": "let the sender name the provider, or add a price for this name of one to the file that "
    "[pricing] overrides names, then llmtrail reprice",
    "missing_token_class_price": "llmtrail show of such a call says which class of tokens was used: add its price to "
    "the file that [pricing] overrides names, then llmtrail reprice",
    "missing_tier_price": "no public price is known of the tier, batch or speed that served it: add yours, with "
    "service_tier, processing or speed, to the file that [pricing] overrides names, then llmtrail reprice",
    "out_of_range": "more than a call can cost: check the sender's token counts and the price's unit",
}
# What to do about spans that look like calls and are none, by reason.
_PASSED_OVER_CURES = {
    "no_model": "let the emitter set gen_ai.request.model (and usage) on the span; where spans below tell both, "
    "nothing is missing (otlp.md)",
    "not_understood": "no usage and no operation that is known: set gen_ai.operation.name and "
    "gen_ai.usage.input_tokens, or add the emitter's profile (otlp.md)",
}
_PASSED_OVER_MAX = 10
# Costs of a model that differ by less than 2 % and a cent are worth nobody's time.
_REPORTED = """SELECT calls.model AS model, count() AS calls,
    sum(toFloat64(cost_nanousd)) AS ours, sum(toFloat64(reported_cost_nanousd)) AS reported
    FROM calls
    WHERE reported_cost_nanousd > 0 AND cost_source IN ('computed', 'estimated') AND ingest_day >= today() - 7
    GROUP BY model HAVING abs(reported - ours) > greatest(10000000, 0.02 * ours)
    ORDER BY abs(reported - ours) DESC LIMIT 10"""
_GAP_CURE = "compare llmtrail show of such a call; a contract's price goes into the file that [pricing] overrides names"


class Grade(StrEnum):
    """How a check ended."""

    GOOD = "good"
    ODD = "odd"  # works, but somebody should know
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked, what was seen, and the cure."""

    grade: Grade
    what: str
    cure: str = ""


def command(
    show_settings: Annotated[
        bool, typer.Option("--settings", help="Print every setting and where it was said.")
    ] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
) -> None:
    """Check this installation: Python, extras, settings, disk, Kafka's topics, the running process, unpriced calls."""
    loaded = settings(config, data)
    findings = [*_installation(), *_folder(loaded.config.server.data)]
    house = find_house(loaded.config.server.data, token, loaded.config.client)
    findings += _kafka(loaded.config.kafka)
    findings += _store_account(loaded.config)
    findings += _running(house) if house else [Finding(Grade.ODD, "no llmtrail runs on this folder", "llmtrail up")]
    lines = loaded.lines() if show_settings else _said(loaded)
    if as_json:
        told = [{"key": key, "value": value, "origin": origin} for key, value, origin in lines]
        print_json({"findings": [asdict(finding) for finding in findings], "settings": told})
    else:
        for finding in findings:
            cure = f" -> {finding.cure}" if finding.cure else ""
            print_text(f"{finding.grade:5} {finding.what}{cure}")
        for key, value, origin in lines:
            print_text(f"      {key} = {value} ({origin})")
    if any(finding.grade is Grade.BAD for finding in findings):
        raise CommandError(Exit.NEGATIVE, "something is bad; the lines above say what to do.")


def _said(loaded: Loaded) -> list[tuple[str, str, str]]:
    return [line for line in loaded.lines() if line[2] != "default"]


def _installation() -> Iterator[Finding]:
    version = sys.version.split()[0]
    yield Finding(Grade.GOOD, f"Python {version}")
    for extra, module in _EXTRAS.items():
        if find_spec(module):
            yield Finding(Grade.GOOD, f"extra {extra} is installed")
        else:
            yield Finding(Grade.ODD, f"extra {extra} is not installed", f"pip install 'llmtrail[{extra}]'")


def _folder(data: Path) -> Iterator[Finding]:
    if not data.is_dir():
        yield Finding(Grade.ODD, f"data folder {data} does not exist yet", "llmtrail up makes it")
        return
    free = shutil.disk_usage(data).free
    shown = f"{free / 1024**3:.1f} GiB are free at {data}"
    if free < FREE_BYTES_MIN:
        yield Finding(Grade.BAD, shown, "free some space, or shorten [store] retention in llmtrail.toml")
    else:
        yield Finding(Grade.GOOD, shown)


def _kafka(where: KafkaConfig) -> Iterator[Finding]:
    if not where.bootstrap_servers:
        return
    try:
        found = topic_differences(where)
    except CommandError as error:
        yield Finding(Grade.BAD, safe_line(str(error), 300), "start Kafka, or mend [kafka] in llmtrail.toml")
        return
    if not found:
        yield Finding(Grade.GOOD, f"every topic of Kafka at {where.bootstrap_servers} is as described")
    for one in found:
        yield Finding(Grade(one.gravity.value), safe_line(str(one), 300), one.cure)


def _store_account(config: Config) -> Iterator[Finding]:
    """Check the account with which people's SQL is answered, or what stands around the processes that do it here."""
    url = store_url(config.store)
    if not url:
        yield from _walls()
        return
    from llmtrail.cli.doctor_store import account_excesses, account_name
    from llmtrail.store.errors import StoreError

    name = safe_line(account_name(url), 80)
    try:
        found = account_excesses(url, store_tls(config))
    except StoreError as error:
        yield Finding(Grade.BAD, safe_line(str(error), 300), "start ClickHouse, or mend [store] url in llmtrail.toml")
        return
    if not found:
        yield Finding(Grade.GOOD, f"ClickHouse's account {name} may do what is documented, and no more")
    for one in found:
        what = f"ClickHouse's account {name}, where it answers people's SQL: {one.what}"
        yield Finding(Grade.ODD, safe_line(what, 300), one.cure)


def _walls() -> Iterator[Finding]:
    from llmtrail.cli.doctor_store import WALL_CURES, standing_walls

    try:
        standing = standing_walls()
    except OSError as error:
        yield Finding(Grade.BAD, safe_line(str(error), 300), "SQL is not answered until it does; see the process's log")
        return
    yield Finding(Grade.GOOD, f"SQL statements run behind {', '.join(standing)}")
    for wall, cure in WALL_CURES.items():
        if wall not in standing:
            yield Finding(Grade.ODD, f"SQL statements run without the wall {wall}, which this system lacks", cure)


def _running(house: House) -> Iterator[Finding]:
    try:
        ready = get_json(house, "/readyz") or {}
        yield Finding(Grade.GOOD, f"llmtrail answers at {house.http}")
        for name, text in ready.get("warnings", {}).items():
            yield Finding(Grade.BAD, safe_line(f"{name}: {text}", 300), "mend the file; it is read again at once")
        for part, state in ready.get("parts", {}).items():
            grade = Grade.GOOD if state == "ready" else Grade.BAD
            yield Finding(grade, f"{part}: {state}", "" if grade is Grade.GOOD else "see the process's own log")
        lines = b"".join(stream_sql(house, _UNPRICED, "JSONEachRow")).splitlines()
        gaps = b"".join(stream_sql(house, _REPORTED, "JSONEachRow")).splitlines()
        passed = _passed_over(house)
    except CommandError as error:
        yield Finding(Grade.BAD, safe_line(str(error), 300), "see the process's own log")
        return
    for row in map(json.loads, lines):
        calls = count(int(row["calls"]), "call")
        what = f"{calls} of {safe_line(str(row['model']), 80)} in 7 days without a cost: {row['reason']}"
        yield Finding(Grade.ODD, what, _UNPRICED_CURES.get(row["reason"], _PRICE_CURE))
    if not lines:
        yield Finding(Grade.GOOD, "every call of the last 7 days has a cost")
    for row in map(json.loads, gaps):
        reported, ours = money(int(row["reported"])), money(int(row["ours"]))
        named = f"{count(int(row['calls']), 'call')} of {safe_line(str(row['model']), 80)}"
        yield Finding(Grade.ODD, f"{named} in 7 days: reported {reported}, ours {ours}", _GAP_CURE)
    yield from passed


def _passed_over(house: House) -> list[Finding]:
    """Return what looked like calls among spans and was passed over, by scope; [] where the process takes no spans."""
    try:
        document = get_json(house, "/v1/traces") or {}
    except CommandError:
        return []  # A process that takes no spans, or a token that may not see those of others.
    findings = []
    for row in document.get("passed_over", [])[:_PASSED_OVER_MAX]:
        scope, example = safe_line(str(row["scope"] or "no scope"), 80), safe_line(str(row["example"]), 80)
        what = f"{count(int(row['records']), 'span')} of {scope} passed over ({row['reason']}), as {example!r}"
        findings.append(Finding(Grade.ODD, what, _PASSED_OVER_CURES.get(row["reason"], "")))
    return findings
