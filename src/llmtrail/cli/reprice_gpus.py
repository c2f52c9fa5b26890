"""`llmtrail reprice --own-gpus`: settle calls on own GPUs by what their hours came to. Acts; `settle` decides."""

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from llmtrail.cli.costs import book_of, stored_cost
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.terminal import print_json, print_text
from llmtrail.cli.wording import count, money
from llmtrail.config import Config

if TYPE_CHECKING:
    from llmtrail.core.pricing import Rates
    from llmtrail.store.handle import Handle
    from llmtrail_ingest.own_gpu_speed import Worked
    from llmtrail_ingest.pricebook import GenaiPriceBook
    from llmtrail_ingest.settle import OnCalls, OwnCall, SettledHour

_NO_HOURS = "no GPU of a deployment was sampled in a closed hour of these days."


@dataclass(slots=True)
class Told:
    """What the hours of a deployment came to, in nano-dollars."""

    hours: Counter[str] = field(default_factory=Counter)
    corrected: int = 0
    # Of settled hours.
    calls: int = 0
    calls_without_tokens: int = 0
    standard_nanousd: int = 0
    busy_nanousd: int = 0
    idle_nanousd: int = 0
    # Of hours that were not settled; money of those of which it is known, None where it is of none.
    unsettled_calls: int = 0
    unsettled_busy_nanousd: int | None = None
    unsettled_idle_nanousd: int | None = None
    worked: "list[Worked]" = field(default_factory=list)

    def add(self, hour: "SettledHour", corrected: int) -> None:
        """Add an hour."""
        self.hours[hour.outcome] += 1
        self.corrected += corrected
        busy_nanousd, idle_nanousd = hour.busy_nanousd, hour.idle_nanousd
        if hour.shares:
            self.calls += hour.calls
            self.calls_without_tokens += hour.calls_without_tokens
            self.standard_nanousd += hour.standard_nanousd
            self.busy_nanousd += busy_nanousd or 0
            self.idle_nanousd += idle_nanousd or 0
        else:
            self.unsettled_calls += hour.calls
            if busy_nanousd is not None and idle_nanousd is not None:
                self.unsettled_busy_nanousd = (self.unsettled_busy_nanousd or 0) + busy_nanousd
                self.unsettled_idle_nanousd = (self.unsettled_idle_nanousd or 0) + idle_nanousd
        if hour.worked is not None:
            self.worked.append(hour.worked)


def on_calls(*, idle_too: bool) -> "OnCalls":
    """Return what is to be laid on calls."""
    from llmtrail_ingest.settle import OnCalls

    return OnCalls.ALL if idle_too else OnCalls.BUSY


def settle(config: Config, days: tuple[date, date], laid: "OnCalls", *, apply: bool) -> dict[str, Told]:
    """Settle all closed hours of these days (UTC); return what they came to, by deployment."""
    from llmtrail.cli.folder import writable
    from llmtrail.store.gpu_hours import HOUR_S, sampled_hours
    from llmtrail.store.insert import insert_corrections
    from llmtrail_ingest.settle import CLOSED_AFTER_S, corrections_of

    book = book_of(config)
    if not book.own_gpus.deployments:
        raise CommandError(Exit.WRONG_USE, "no deployment is known; write [gpu.deployments.NAME] in llmtrail.toml.")
    until_s = min(_second(days[1] + timedelta(days=1)), int(time.time()) - CLOSED_AFTER_S - HOUR_S + 1)
    told: dict[str, Told] = {}
    with writable(config) as handle:
        for hour_s in sampled_hours(handle, _second(days[0]), max(until_s, 0)):
            # An instant for each hour, so that each insert brings up only its own calls.
            now_ns = time.time_ns()
            settled = _hour(handle, hour_s, book, laid)
            made = {hour.deployment: corrections_of(hour, book.book_id, now_ns) for hour in settled}
            if apply:
                together = [one for some in made.values() for one in some]
                insert_corrections(handle, together, f"settle:{now_ns}:{hour_s}")
            for hour in settled:
                told.setdefault(hour.deployment, Told()).add(hour, len(made[hour.deployment]))
    return told


def tell(told: dict[str, Told], *, dry_run: bool, as_json: bool) -> None:
    """Print what deployments came to."""
    if as_json:
        print_json({"dry_run": dry_run, "deployments": {name: _figures(one) for name, one in told.items()}})
        return
    if not told:
        print_text(_NO_HOURS)
    for name, one in told.items():
        settled = one.hours["settled"]
        verb = "would be corrected" if dry_run else "corrected"
        print_text(
            f"{name}: {count(settled, 'hour')} settled, {count(one.calls, 'call')}: "
            f"standard {money(one.standard_nanousd)}, actual {money(one.busy_nanousd)}, "
            f"idle {money(one.idle_nanousd)}; {one.corrected:,} {verb}"
        )
        left = ", ".join(f"{why} {number:,}" for why, number in sorted(one.hours.items()) if why != "settled")
        if left:
            print_text(
                f"  not settled: {left} (hours), {count(one.unsettled_calls, 'call')}: "
                f"busy {money(one.unsettled_busy_nanousd)}, idle {money(one.unsettled_idle_nanousd)}"
            )
        if one.calls_without_tokens:
            print_text(f"  without known tokens, so nothing is laid on them: {count(one.calls_without_tokens, 'call')}")


def tell_speeds(told: dict[str, Told], *, as_json: bool) -> None:
    """Print the speed that measured hours tell of each deployment, as the file of prices wants it."""
    from llmtrail_ingest.own_gpu_speed import proposed

    speeds = {name: proposed(one.worked) for name, one in told.items()}
    if as_json:
        print_json({name: None if speed is None else asdict(speed) for name, speed in speeds.items()})
        return
    if not told:
        print_text(f"# {_NO_HOURS}")
    for name, speed in speeds.items():
        if speed is None:
            print_text(f"# {name}: no hour tells its speed: no tokens, no samples, or GPUs that others use as well.")
            continue
        print_text(
            f"# {name}: {count(speed.hours, 'measured hour')}; {speed.unexplained:.0%} of the busy time fits no hour."
        )
        print_text(f"[[own_gpu]]\ndeployment = {json.dumps(name)}\ngpus = {speed.gpus}")
        print_text('# gpu = "NVIDIA H200", its model, unless a [[gpu_hour]] names the deployment itself')
        pairs = [("input_tokens_s", speed.input_tokens_s), ("output_tokens_s", speed.output_tokens_s)]
        for key, tokens_s in [("tokens_s", speed.input_tokens_s)] if speed.is_one else pairs:
            print_text(f'{key} = "{Decimal(str(tokens_s)).normalize():f}"')


def _hour(handle: "Handle", hour_s: int, book: "GenaiPriceBook", laid: "OnCalls") -> "list[SettledHour]":
    from llmtrail.store.gpu_hours import gpu_times
    from llmtrail_ingest.settle import Terms, settle_hour

    own = book.own_gpus
    names = [one.name for one in own.deployments]
    rates = {name: found for name in names if (found := own.rates_of(name, hour_s)) is not None}
    terms = Terms(own.deployments, own.hour_prices, rates, laid)
    return settle_hour(hour_s, gpu_times(handle, hour_s), _calls(handle, hour_s, book, rates), terms)


def _calls(
    handle: "Handle", hour_s: int, book: "GenaiPriceBook", rates: "dict[str, Rates]"
) -> "dict[str, list[OwnCall]]":
    """Return the calls of each deployment that began in an hour."""
    from llmtrail.store.gpu_hours import HOUR_S, calls_of_hour
    from llmtrail_ingest.settle import weighed

    found: dict[str, list[OwnCall]] = {}
    models = {one.model for one in book.own_gpus.deployments if one.address or one.model}
    after = "0"
    while models:
        page = calls_of_hour(handle, hour_s, models, after)
        if not page:
            break
        rows = [stored_cost(stored, date.fromisoformat(stored.place.ingest_day)) for stored in page]
        for row in rows:
            name = book.own_gpus.deployment(row.call)
            # A revision may have told another start: the call is then another hour's.
            if name is not None and hour_s <= row.started_at_ns // 10**9 < hour_s + HOUR_S:
                found.setdefault(name, []).append(weighed(row, rates.get(name)))
        after = str(max(row.call_key for row in rows))
    return found


def _second(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _figures(told: Told) -> dict[str, Any]:
    return {one.name: getattr(told, one.name) for one in fields(told) if one.name != "worked"}
