"""Whatever stands on a topic, its reader reads on: what it cannot read is left out, counted or a dead letter.

Anybody who may produce to a topic can write such a record, and nothing but time takes it away again.
"""

import random
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import strategies as st

import hostile_inputs
from consumers import JOURNAL, RULES
from engine_world import NS, Process, World
from fold_world import SHARD
from fold_world import World as FoldWorld
from fuzzing import Fuzz, decodes, mutated
from gpu_world import START_S, engine, gpu, scrape
from limits_house import hard_limit
from llmtrail.core.board import Board, Question
from llmtrail.core.cell import Cell
from llmtrail.core.gpu import encode_scrape
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.kept import BadKeptError, Kept, decode_kept, encode_kept
from llmtrail.core.limit import encode_limit
from llmtrail.core.limit_page import BadPageError, LimitPage, changes_of, decode_page, encode_page
from llmtrail.core.minutes import MinuteBook, compact
from llmtrail.core.partial import BadPartialError, Partial, Source, decode_partials, encode_partials
from llmtrail.core.running import RunningSums
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.core.window import Window
from llmtrail.local.alerts import new_limit_board
from llmtrail.log.kafka.notes import from_metadata, to_metadata
from llmtrail.log.port import Plan, Records
from llmtrail.roles.limits import take_limits
from llmtrail.roles.statistics import take_records
from llmtrail_ingest.dead_letter import letter_of, letter_rows
from llmtrail_ingest.gpu.rows import rows_of
from llmtrail_ingest.otlp.records import decode_part, encode_part
from llmtrail_ingest.otlp.settle import Settler
from llmtrail_ingest.writer.decisions import Decisions, from_note, to_note
from otlp_recordings import SECOND_NS, START_NS, parts_of, recorded

JSON = list(hostile_inputs.JSON.values())
KEYS = (
    b"",
    b"\xff\xfe",
    b"03/10s/1700000040",
    b"03/month@Nowhere/X/1",
    b"99/1m/1",
    b"3/1m",
    b'["group","a"',
    b"//",
    b"[]",
)
NOW_S = 1_700_000_100
SCOPES = (
    Scope("", ScopeKind.TENANT, ()).text(),
    Scope("acme", ScopeKind.FEATURE, ("search",)).text(),
    Scope("", ScopeKind.USER, ("u-1",)).text(),
    Scope("", ScopeKind.MODEL, ("gpt-4o",)).text(),
)


def _partials() -> list[Partial]:
    cells = {scope: Cell(calls=2, cost_nanousd=5) for scope in SCOPES}
    return [
        Partial(
            shard=SHARD,
            watermark_s=NOW_S,
            source=Source("t", 0, number * 10, number * 10 + 10),
            slots={NOW_S - NOW_S % 10 - 10 * number: cells},
        )
        for number in range(3)
    ]


def _slots() -> dict[str, bytes]:
    world = FoldWorld()
    world.fold(*_partials())
    return dict(world.table)


PARTIALS = [encode_partials(_partials()[:1]), encode_partials(_partials())]
SLOTS = _slots()


def records(keys: Iterable[bytes], values: list[bytes]) -> st.SearchStrategy[tuple[bytes, bytes]]:
    """A key and a value, each as it should be, changed, or somebody else's."""
    return st.tuples(mutated([*keys, *KEYS]), mutated(values) | st.sampled_from(JSON))


def known(keys: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """Every value that broke a decoder, under a key that is right and one that is wrong."""
    return [(key, value) for key in (next(iter(keys)), b"\xff") for value in JSON]


@pytest.mark.fuzz
def test_any_partial_is_folded_or_turned_away(fuzz: Fuzz) -> None:
    def check(value: bytes) -> None:
        world = FoldWorld()
        world.fold(*_partials())
        world.fold(*decode_partials(value))

    fuzz(mutated(PARTIALS), decodes(check, BadPartialError), [*PARTIALS, *JSON])


def _asked(board: Board, now_s: int) -> None:
    for window in (Window.FIVE_MINUTES, Window.DAY):
        for kind in (ScopeKind.TENANT, ScopeKind.FEATURE, ScopeKind.MODEL):
            board.answer(Question(window=window, kind=kind), now_s)
            board.scopes(kind, window, now_s)
    board.changed_since(0)
    board.since(SCOPES, now_s - 300, now_s)


@pytest.mark.fuzz
def test_any_slot_leaves_the_statistics_to_be_asked(fuzz: Fuzz) -> None:
    def check(record: tuple[bytes, bytes]) -> None:
        board = Board()
        running = RunningSums(board)
        take_records(board, [(key.encode(), value) for key, value in SLOTS.items()])
        take_records(board, [record])
        _asked(board, NOW_S)
        list(running.refresh())

    keys = [key.encode() for key in SLOTS]
    fuzz(records(keys, list(SLOTS.values())), decodes(check), known(keys))


@pytest.mark.fuzz
def test_any_slot_leaves_the_minutes_to_be_written(fuzz: Fuzz) -> None:
    def check(record: tuple[bytes, bytes]) -> None:
        book = MinuteBook()
        for key, value in (*((key.encode(), value) for key, value in SLOTS.items()), record):
            try:
                book.take({key.decode("utf-8", "replace"): compact(value) if value else None})
            except ValueError:
                continue  # as the reader of the topic leaves it out
        assert book.due(NOW_S + 100_000, 1_000)

    keys = [key.encode() for key in SLOTS]
    fuzz(records(keys, list(SLOTS.values())), decodes(check), known(keys))


@pytest.mark.fuzz
def test_any_slot_leaves_the_worker_to_fold_on(fuzz: Fuzz) -> None:
    def check(record: tuple[bytes, bytes]) -> None:
        table = {key: SLOTS[key] for key in SLOTS} | {record[0].decode("utf-8", "replace"): record[1]}
        world = FoldWorld(table=table)
        world.fold(*_partials())

    keys = [key.encode() for key in SLOTS]
    fuzz(records(keys, list(SLOTS.values())), decodes(check), known(keys))


LIMITS = [encode_limit(hard_limit()), encode_limit(hard_limit("gpt-4o", ScopeKind.MODEL, "acme"))]


@pytest.mark.fuzz
def test_any_limit_leaves_the_others_in_force(fuzz: Fuzz) -> None:
    def check(record: tuple[bytes, bytes]) -> None:
        board = new_limit_board()
        limit = hard_limit("u-2")
        take_limits(board, [(limit.key.encode(), encode_limit(limit)), record], lambda _: None)
        assert any(b"u-2" in bytes(one) for one in board.page("", "").limits)

    fuzz(records([hard_limit().key.encode()], LIMITS), decodes(check), known([hard_limit().key.encode()]))


@pytest.mark.fuzz
def test_any_page_of_limits_is_read_or_refused(fuzz: Fuzz) -> None:
    page = encode_page(LimitPage(generation="a.1", full=True, limits=[msgspec.Raw(one) for one in LIMITS], removed=[]))
    fuzz(mutated([page]), decodes(lambda body: changes_of(decode_page(body)), BadPageError), JSON)


@pytest.mark.fuzz
def test_any_rules_need_is_read_or_refused(fuzz: Fuzz) -> None:
    fuzz(mutated([encode_kept(Kept(("UTC",), frozenset({"search"})))]), decodes(decode_kept, BadKeptError), JSON)


SCRAPES = [
    encode_scrape(scrape(0, gpu(power_w=300.0, xid=79), gpu(number=1), error="")),
    encode_scrape(scrape(10, engine(waiting=4), error="")),
]


def _records(values: list[bytes], keys: list[bytes] | None = None) -> Records:
    count = len(values)
    return Records("llm.gpu", "t", 0, 0, values, keys or [b"k"] * count, [START_S * NS] * count, [{}] * count)


def _gpu_asked(board: GpuBoard) -> None:
    for window_s in (60, 3_600):
        board.devices(window_s, START_S + 30)
        board.engines(window_s, START_S + 30)
    board.targets(START_S + 30)
    board.changed(0)


@pytest.mark.fuzz
def test_any_scrape_is_rows_statistics_or_a_dead_letter(fuzz: Fuzz) -> None:
    def check(value: bytes) -> None:
        run = rows_of(_records([*SCRAPES, value]))
        assert len(run.scrapes) + len(run.letters) >= 3
        board = GpuBoard()
        for one in (*SCRAPES, value):
            board.take_value(one, START_S * NS)
        _gpu_asked(board)

    fuzz(mutated(SCRAPES), decodes(check), [*SCRAPES, *JSON])


@pytest.mark.fuzz
def test_any_slot_of_gpus_leaves_their_statistics_to_be_asked(fuzz: Fuzz) -> None:
    slots: dict[str, bytes] = {}
    board = GpuBoard()
    for value in SCRAPES:
        taken = board.take_value(value, START_S * NS)
        slots |= {key: slot for key, slot in taken.writes.items() if slot is not None}

    def check(record: tuple[bytes, bytes]) -> None:
        fresh = GpuBoard()
        take_records(fresh, [(key.encode(), value) for key, value in slots.items()])
        take_records(fresh, [record])
        _gpu_asked(fresh)

    keys = [key.encode() for key in slots]
    fuzz(records(keys, list(slots.values())), decodes(check), known(keys))


PARTS = [encode_part(part) for name in ("genai-chat", "logfire-stream") for part in parts_of(recorded(name))]


@pytest.mark.fuzz
def test_any_span_on_the_log_is_settled_or_left_out(fuzz: Fuzz) -> None:
    def check(value: bytes) -> None:
        settler = Settler()
        for offset, one in enumerate((*PARTS[:3], value)):
            settler.take(decode_part(one), START_NS, offset=offset)
        settler.publish(START_NS + 20 * SECOND_NS)

    fuzz(mutated(PARTS), decodes(check, msgspec.DecodeError), JSON)


LETTERS = [msgspec.json.encode(letter_of(b'{"a":1}', reason="not_json", detail="d", source="http", index=3))]


@pytest.mark.fuzz
def test_any_record_of_dead_letters_is_a_row(fuzz: Fuzz) -> None:
    def check(value: bytes) -> None:
        assert len(letter_rows(_records([LETTERS[0], value, LETTERS[0]], [b"\xff", b"", b"k"]))) == 3

    fuzz(mutated(LETTERS), decodes(check), [*LETTERS, *JSON])


@pytest.mark.fuzz
def test_any_record_of_the_alerts_journal_leaves_the_decider_to_start(fuzz: Fuzz) -> None:
    def check(record: tuple[bytes, bytes]) -> None:
        world = World(random.Random(1), kafka=True, kill_share=0.0)
        world.held = dict(JOURNAL) | {record[0].decode("utf-8", "replace"): record[1]}
        process = Process(world, RULES)
        for _ in range(2):
            world.now_ns += 40 * NS
            process.engine.turn()

    keys = [key.encode() for key in JOURNAL]
    every = [(key, value) for key in keys for value in JSON]
    fuzz(records(keys, list(JOURNAL.values())), decodes(check), every)


@pytest.mark.fuzz
def test_any_note_beside_an_offset_is_read_or_no_plan(fuzz: Fuzz) -> None:
    note = to_metadata("t", [Plan("t", 0, 3, 9, "n")])

    def check(value: bytes) -> None:
        from_metadata(value.decode("utf-8", "replace"), "t", 0)

    fuzz(mutated([note.encode()]), decodes(check), JSON)


@pytest.mark.fuzz
def test_any_note_of_a_plan_is_read_or_refused(fuzz: Fuzz) -> None:
    note = to_note(Decisions(book_id="b", skipped={}, revisions=frozenset({1, 2, 7}), adopted={}))
    fuzz(
        mutated([note.encode()]),
        decodes(lambda value: from_note(value.decode("utf-8", "replace")), ValueError),
        JSON,
    )
