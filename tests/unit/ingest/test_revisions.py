"""A revision is judged by its call: when that first arrived, where it stands, whose it is, what it was priced by."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from kafka_writers import known_calls
from llmtrail.core.cell import Cell
from llmtrail.core.ids import uuid7
from llmtrail.core.partial import Partial
from llmtrail.log.port import Records
from llmtrail.store.rows import CallRow, Corrected, KnownCall
from llmtrail_ingest.pricebook import GenaiPriceBook, load_pricebook
from llmtrail_ingest.statistics.known import CountedCalls
from llmtrail_ingest.statistics.partials import partials_of
from llmtrail_ingest.writer.decisions import Decisions, from_note, to_note
from llmtrail_ingest.writer.seen import SeenIds
from llmtrail_ingest.writer.step import Batch, StepContext, step

NS = 1_000_000_000
DAY_S = 86_400
NOW_S = 1_795_000_000
TENANT = '["","tenant"]'
BOOK = load_pricebook()


class Writers:
    """The writer's steps as both ways take them: with what the store knows, or with what the statistics remember."""

    def __init__(self, way: str, book: GenaiPriceBook = BOOK) -> None:
        self.way, self.book = way, book
        self.rows: dict[tuple[str, int], CallRow] = {}
        self.counted = CountedCalls(1_000)
        self.partials: list[Partial] = []
        self.offset = 0

    def send(self, event: Mapping[str, Any], at_s: float, tenant: str = "", decided: Decisions | None = None) -> Batch:
        records = Records(
            topic="llm.calls",
            topic_id="t",
            partition=0,
            first_offset=self.offset,
            values=[json.dumps(event).encode()],
            keys=[b"k%d" % self.offset],
            appended_at_ns=[int(at_s * NS)],
            headers=[{"tenant": tenant} if tenant else {}],
        )
        self.offset += 1
        batch = step(records, StepContext(SeenIds(2**62), (), self.known, self.book, decided))
        self.partials += partials_of(batch, int(at_s * NS))
        for row in batch.rows:
            self.rows[row.tenant, row.call_key] = row
            self.counted.remember(row)
        return batch

    def known(self, keys: Sequence[int]) -> Mapping[int, Sequence[KnownCall]]:
        if self.way == "remembered":
            return self.counted.known(keys)
        return known_calls(self.rows.values(), keys)

    @staticmethod
    def key(event: Mapping[str, Any]) -> int:
        return int(event["call_id"].replace("-", ""), 16)

    @property
    def row(self) -> CallRow:
        [row] = self.rows.values()
        return row

    def cells(self, scope: str = TENANT) -> dict[int, Cell]:
        """Return what is left of a scope in each slot."""
        sums: dict[int, Cell] = {}
        for partial in self.partials:
            for slot_s, cells in partial.slots.items():
                if scope in cells:
                    sums.setdefault(slot_s, Cell()).add(cells[scope])
        return {slot_s: cell for slot_s, cell in sums.items() if not cell.is_zero}

    @property
    def late(self) -> int:
        return sum(count for partial in self.partials for count in partial.late.values())


@pytest.fixture(params=["stored", "remembered"])
def writers(request: pytest.FixtureRequest) -> Writers:
    return Writers(request.param)


def call(**named: Any) -> dict[str, Any]:
    usage = {"input_tokens": 10_000_000, "output_tokens": 7_500_000}
    made = {"call_id": uuid7(NOW_S * NS, bytes(10)), "started_at": NOW_S * NS, "provider": "openai"}
    return made | {"request_model": "gpt-4o", "usage": usage, "status": "ok"} | named


HUNDRED_USD = 100 * NS


def revised(event: Mapping[str, Any], revision: int = 1, **named: Any) -> dict[str, Any]:
    return {name: event[name] for name in ("call_id", "started_at", "request_model")} | {"revision": revision} | named


def test_a_revision_more_than_a_day_after_the_call_takes_nothing_away(writers: Writers) -> None:
    event = call()
    writers.send(event, NOW_S + DAY_S - 6)
    writers.send(revised(event, parser={"status": "ok"}), NOW_S + DAY_S + 9)
    assert [(cell.calls, cell.cost_nanousd) for cell in writers.cells().values()] == [(1, HUNDRED_USD)]
    assert (writers.row.counted_at_ns, writers.late) == (NOW_S * NS, 0)


def test_a_revision_that_moves_the_start_changes_the_sums_where_the_call_counts(writers: Writers) -> None:
    event = call(latency_ms=4_000)
    writers.send(event, NOW_S + 5)
    writers.send(revised(event) | {"started_at": (NOW_S - 40 * DAY_S) * NS, "latency_ms": 9e6}, NOW_S + 60)
    assert {slot_s: cell.calls for slot_s, cell in writers.cells().items()} == {NOW_S // 10 * 10: 1}
    assert writers.row.counted_at_ns == (NOW_S + 4) * NS


def test_a_late_call_is_late_once_whatever_revises_it(writers: Writers) -> None:
    event = call()
    writers.send(event, NOW_S + DAY_S + 1)
    for revision in (1, 2):
        writers.send(revised(event, revision, latency_ms=2 * DAY_S * 1_000.0), NOW_S + DAY_S + 1 + revision)
    assert (writers.late, writers.cells(), writers.row.counted_at_ns) == (1, {}, None)


def test_a_call_counts_at_its_end_and_at_its_arrival_where_its_clock_is_ahead(writers: Writers) -> None:
    writers.send(call(latency_ms=95_000), NOW_S + 96)
    assert list(writers.cells()) == [(NOW_S + 95) // 10 * 10]
    ahead = Writers(writers.way)
    ahead.send(call(latency_ms=95_000), NOW_S - 300)
    assert list(ahead.cells()) == [(NOW_S - 300) // 10 * 10]


@pytest.mark.parametrize(
    "told",
    [
        {"parameters": {"service_tier": "priority", "temperature": 0}},
        {"parameters": {"service_tier": "flex"}},
        {"served": {"service_tier": "default"}},
        {"usage": {"input_tokens": 10_000_000, "output_tokens": 7_500_000, "cache_read_tokens": 5_000_000}},
        {"attributes": {"server.address": "gpu-1", "policy_declared": "raised"}, "handled_by": "fallback_model"},
        {"reported_cost_nanousd": 7, "request_model": "nobody-prices-this"},
    ],
    ids=str,
)
def test_a_revision_of_the_parser_alone_leaves_money_as_it_was(writers: Writers, told: dict[str, Any]) -> None:
    event = call(messages=[{"role": "user", "content": "hi"}], **told)
    writers.send(event, NOW_S + 5)
    [before] = writers.cells().values()
    writers.send(revised(event, parser={"status": "ok"}), NOW_S + 9)
    [after] = writers.cells().values()
    assert after == before
    assert after.cost_nanousd == (writers.row.cost_nanousd or 0)


def test_every_shard_of_a_call_hears_of_a_revision_that_changes_no_sum(writers: Writers) -> None:
    """Else a shard would seem to be behind what is stored for ever, and the budgets of its scopes unknown."""
    event = call(feature="search", user_id="u-1")
    writers.send(event, NOW_S + 5)
    first = {partial.shard for partial in writers.partials}
    writers.partials.clear()
    writers.send(revised(event, parser={"status": "ok"}), NOW_S + 9)
    assert {partial.shard for partial in writers.partials if partial.slots and partial.source} == first


@pytest.mark.parametrize("token", ["acme", ""])
def test_a_token_without_tenant_revises_the_call_of_the_tenant_that_it_states(writers: Writers, token: str) -> None:
    event = call(tenant="acme")
    writers.send(event, NOW_S + 5, tenant=token)
    writers.send(revised(event, feature="chat", tenant="acme"), NOW_S + 9)
    assert (writers.row.tenant, writers.row.call.feature) == ("acme", "chat")
    assert [cell.cost_nanousd for cell in writers.cells('["acme","tenant"]').values()] == [HUNDRED_USD]
    assert writers.cells() == {}


@pytest.mark.parametrize(("first", "later", "owner"), [("acme", {}, "acme"), (None, {"tenant": "acme"}, "")])
def test_a_sender_without_tenant_may_state_one_once_or_later_and_the_call_keeps_what_came_first(
    writers: Writers, first: str | None, later: dict[str, str], owner: str
) -> None:
    event = call(**({"tenant": first} if first else {}))
    writers.send(event, NOW_S + 5)
    writers.send(event, NOW_S + 6, tenant="globex")  # which comes first is chance
    for revision in (1, 2):
        writers.send(revised(event, revision, feature="chat", **later), NOW_S + 8 + revision)
    row = writers.rows[owner, writers.key(event)]
    assert (row.call.revision, row.call.feature, len(writers.rows)) == (2, "chat", 2)


@pytest.mark.parametrize("owner", ["acme", ""])
@pytest.mark.parametrize("foreign_first", [False, True])
def test_another_tenants_event_of_the_same_id_is_a_call_of_its_own(
    writers: Writers, owner: str, foreign_first: bool
) -> None:
    event = call()
    foreign = revised(event, 7, feature="chat", output="mine now")
    order = [(event, owner), (foreign, "globex")]
    for at_s, (sent, tenant) in enumerate(reversed(order) if foreign_first else order):
        batch = writers.send(sent, NOW_S + 5 + at_s, tenant=tenant)
        assert (len(batch.rows), batch.revisions, batch.skipped, batch.dead_letters) == (1, set(), {}, [])
    again = writers.send(event, NOW_S + 9, tenant=owner)
    assert list(again.skipped.values()) == ["duplicate"]
    mine = writers.rows[owner, writers.key(event)]
    assert (mine.call.revision, mine.call.feature, mine.cost_nanousd) == (0, None, HUNDRED_USD)
    assert [cell.cost_nanousd for cell in writers.cells(f'["{owner}","tenant"]').values()] == [HUNDRED_USD]


def test_a_sender_of_no_tenant_that_states_none_is_never_led_to_a_tenants_call(writers: Writers) -> None:
    # A tenant knows the id beforehand and comes first; what is sent later without a tenant must not become its call.
    event = call(messages=[{"role": "user", "content": "secret"}])
    writers.send(revised(event), NOW_S + 5, tenant="evil")
    writers.send(event | {"revision": 3}, NOW_S + 6)
    assert b"secret" not in bytes(writers.rows["evil", writers.key(event)].call.messages)
    assert b"secret" in bytes(writers.rows["", writers.key(event)].call.messages)


def test_a_repeated_range_revises_the_call_that_it_revised_before(writers: Writers) -> None:
    event = call()
    writers.send(event, NOW_S + 5)
    late = revised(event, tenant="acme", feature="chat")
    first = writers.send(late, NOW_S + 9)
    writers.send(event, NOW_S + 9, tenant="acme")  # is stored already when the range is repeated
    note = to_note(Decisions("", first.skipped, frozenset(first.revisions), first.adopted))
    again = writers.send(late, NOW_S + 9, decided=from_note(note))
    assert [row.tenant for row in again.rows] == [""]


CORRECTED = Corrected(12 * NS, "self_hosted_final", "own_gpu:a", None, (NOW_S + 7) * NS)


def corrected(writers: Writers) -> None:
    [key] = writers.rows
    writers.rows[key] = replace(writers.rows[key], corrected=CORRECTED)


def test_a_correction_survives_a_revision_that_changes_nothing_of_the_price() -> None:
    writers = Writers("stored")
    event = call()
    writers.send(event, NOW_S + 5)
    corrected(writers)
    writers.send(revised(event, parser={"status": "failed"}), NOW_S + 9)
    assert writers.row.corrected == CORRECTED
    # The statistics hold what the writer priced; what a correction changes, budgets read from the store.
    assert [cell.cost_nanousd for cell in writers.cells().values()] == [HUNDRED_USD]


def test_a_revision_of_the_usage_is_priced_anew_and_its_difference_is_exact() -> None:
    writers = Writers("stored")
    event = call(request_model="nobody-prices-this")
    writers.send(event, NOW_S + 5)
    corrected(writers)
    writers.send(revised(event, response_model="gpt-4o", usage={"input_tokens": 20_000_000}), NOW_S + 9)
    assert (writers.row.corrected, writers.row.cost_nanousd) == (None, 125 * NS)
    assert [(cell.cost_nanousd, cell.unpriced) for cell in writers.cells().values()] == [(125 * NS, 0)]


def test_a_prompt_that_a_revision_brings_is_counted_in_place_of_the_former(writers: Writers) -> None:
    event = call(messages=[{"role": "user", "content": "one"}])
    writers.send(event, NOW_S + 5)
    writers.send(revised(event, messages=[{"role": "user", "content": "two"}]), NOW_S + 9)
    sums: dict[str, int] = {}
    for partial in writers.partials:
        for cells in partial.hitters.values():
            for scope, cell in cells.items():
                sums[scope] = sums.get(scope, 0) + cell.calls
    assert sorted(sums.values()) == [0, 1]


# Histories that others reported of their own meters; where each was told stands beside it.


def test_a_call_of_before_a_budgets_end_that_arrives_after_it_counts_in_its_own_period(writers: Writers) -> None:
    # BerriAI/litellm issue 39150: spend that was buffered across a reset was charged to the next window.
    midnight_s = (NOW_S // DAY_S + 1) * DAY_S
    writers.send(call(started_at=(midnight_s - 3) * NS, latency_ms=2_000), midnight_s + 5)
    assert list(writers.cells()) == [midnight_s - 10]


def test_an_import_of_old_calls_is_priced_and_fills_no_present_budget(writers: Writers) -> None:
    # langfuse/langfuse issue 1188: generations of weeks ago, imported, had no cost.
    writers.send(call(started_at=(NOW_S - 400 * DAY_S) * NS), NOW_S)
    assert (writers.row.cost_nanousd, writers.row.counted_at_ns) == (HUNDRED_USD, None)
    assert (writers.cells(), writers.late) == ({}, 1)


@pytest.mark.parametrize("times", [2, 7])
def test_an_event_that_is_polled_again_and_again_costs_once(writers: Writers, times: int) -> None:
    # BerriAI/litellm issues 25015 and 17814: each poll of a response was spend of its own.
    event = call(provider_request_id="resp_1")
    for number in range(times):
        writers.send(event, NOW_S + 60 * number)
    assert [cell.cost_nanousd for cell in writers.cells().values()] == [HUNDRED_USD]


def test_calls_that_share_a_providers_response_id_are_all_counted(writers: Writers) -> None:
    # BerriAI/litellm issues 28376 and 39749: sequential or null response ids as a key dropped the spend of others.
    for number in range(3):
        event = call(call_id=uuid7((NOW_S + number) * NS, bytes([number] * 10)), provider_request_id="chatcmpl-213")
        writers.send(event, NOW_S + 9)
    assert sum(cell.calls for cell in writers.cells().values()) == 3


def test_the_same_id_with_another_payload_is_a_conflict_and_the_first_wins(writers: Writers) -> None:
    # flexprice/flexprice issue 612: a conflicting replay must not change what was metered.
    writers.send(call(), NOW_S + 1)
    batch = writers.send(call(usage={"input_tokens": 1, "output_tokens": 1}), NOW_S + 2)
    assert [str(reason) for reason in batch.skipped.values()] == ["dup_conflict"]
    assert writers.row.cost_nanousd == HUNDRED_USD


def test_an_update_that_is_sent_as_a_new_event_of_the_same_id_replaces_the_sum(writers: Writers) -> None:
    # langfuse/langfuse-docs pull request 3232: each version of an id was summed.
    event = call()
    writers.send(event, NOW_S + 1)
    for revision in range(1, 4):
        writers.send(event | {"revision": revision, "feature": f"f{revision}"}, NOW_S + 1 + revision)
    assert [cell.cost_nanousd for cell in writers.cells().values()] == [HUNDRED_USD]
    assert [cell.calls for cell in writers.cells('["","feature","f3"]').values()] == [1]
    assert writers.cells('["","feature","f1"]') == {}


def test_an_update_that_comes_before_its_call_needs_no_trace_to_find_it(writers: Writers) -> None:
    # langfuse/langfuse-python pull request 629: updates without their trace id could not be ordered.
    event = call(trace_id="t-1")
    writers.send(event | {"revision": 1}, NOW_S + 1)
    batch = writers.send(event, NOW_S + 2)
    assert [str(reason) for reason in batch.skipped.values()] == ["stale_revision"]
    assert [cell.cost_nanousd for cell in writers.cells().values()] == [HUNDRED_USD]


def test_ids_of_two_tenants_that_collide_are_never_each_others_repeats(writers: Writers) -> None:
    # mozilla/fxa pull request 21129: one tenant's valid event was taken for a duplicate of another's.
    writers.send(call(), NOW_S + 1, tenant="a")
    batch = writers.send(call(), NOW_S + 2, tenant="b")
    assert (batch.skipped, batch.dead_letters, sorted(tenant for tenant, _ in writers.rows)) == ({}, [], ["a", "b"])


def test_a_retry_after_a_write_that_failed_is_counted(writers: Writers) -> None:
    # openmeterio/openmeter issue 5118: the id was claimed before the write, so the retry was metered nowhere.
    event = call()
    broken = writers.send({"call_id": event["call_id"], "started_at": event["started_at"]}, NOW_S + 1)
    assert [letter.reason for letter in broken.dead_letters] == ["missing_field"]
    writers.send(event, NOW_S + 2)
    assert [cell.cost_nanousd for cell in writers.cells().values()] == [HUNDRED_USD]


def test_a_repeat_beside_news_in_one_body_is_passed_over_and_the_news_counted(writers: Writers) -> None:
    # getlago/lago-api issue 3049: one repeated id refused the whole batch.
    first, second = call(), call(call_id=uuid7((NOW_S + 1) * NS, bytes([1] * 10)))
    writers.send(first, NOW_S + 1)
    assert writers.send(first, NOW_S + 2).skipped
    assert not writers.send(second, NOW_S + 2).skipped
    assert sum(cell.calls for cell in writers.cells().values()) == 2


def test_a_streams_usage_that_comes_after_its_call_is_the_calls_cost(writers: Writers) -> None:
    # BerriAI/litellm issue 6633: spend of streams whose usage came in an event of its own was lost.
    event = call(stream=True)
    usage = event.pop("usage")
    writers.send(event, NOW_S + 1)
    writers.send(revised(event, usage=usage), NOW_S + 2)
    [cell] = writers.cells().values()
    assert (cell.calls, cell.cost_nanousd, cell.unpriced) == (1, HUNDRED_USD, 0)
