"""Whatever stands in a file of ours, it is read as far as it is sound, or named as damaged: nothing else is raised."""

import sqlite3
from pathlib import Path

import pytest

from fuzzing import Fuzz, decodes, mutated
from llmtrail.emit import segment
from llmtrail.emit.stub import stub_bytes
from llmtrail.emit.tally import StripReason
from llmtrail.local import moved_file, port_file, slot_file
from llmtrail.log import log_file, rows
from llmtrail.log.journal import FileJournal
from llmtrail.log.local import LocalLog
from llmtrail.log.local_reader import LocalLogReader
from llmtrail.log.port import CALLS, Append, LogCorruptError

SEGMENTS = [segment.pack([b'{"a":1}', b"x" * 300]), segment.pack([b"{}"] * 40)]
CHUNKS = [rows.encode(rows.Chunk((b'{"a":1}', b"{}"), (b"k", b""), {"tenant": "acme"}, 9))]


@pytest.mark.fuzz
def test_any_segment_of_a_spool_is_read_to_its_first_damage(fuzz: Fuzz) -> None:
    def check(data: bytes) -> None:
        found = segment.scan(data)
        assert segment.pack(found.events) == data[: found.good_bytes]

    fuzz(mutated(SEGMENTS), decodes(check), [b"\0" * 4_096, b"\xff" * 64])


@pytest.mark.fuzz
def test_any_row_of_the_log_is_records_or_damage(fuzz: Fuzz) -> None:
    fuzz(mutated(CHUNKS), decodes(lambda blob: rows.decode(blob, 0, 0), ValueError), [b"", b"\xff" * 16])


@pytest.mark.fuzz
def test_any_spooled_event_is_sent_without_its_text_or_given_up(fuzz: Fuzz) -> None:
    event = b'{"call_id":"a","started_at":1,"request_model":"m","messages":[{"role":"user","content":"x"}]}'
    fuzz(mutated([event]), decodes(lambda value: stub_bytes(value, StripReason.TOO_LARGE)))


@pytest.mark.fuzz
def test_any_port_file_is_an_address_or_none(fuzz: Fuzz, tmp_path: Path) -> None:
    good = b'{"pid": 1, "http": "http://127.0.0.1:1", "sql": "", "grpc_port": null}'

    def check(data: bytes) -> None:
        (tmp_path / port_file.NAME).write_bytes(data)
        port_file.read(tmp_path)

    fuzz(mutated([good]), decodes(check), [b'{"pid": 99999999999999999999999, "http": "", "sql": ""}', b"[" * 100_000])


@pytest.mark.fuzz
def test_any_note_of_a_move_is_read_or_refused(fuzz: Fuzz, tmp_path: Path) -> None:
    def check(data: bytes) -> None:
        (tmp_path / moved_file.FILE_NAME).write_bytes(data)
        moved_file.check_at_home(tmp_path)

    fuzz(
        mutated([b'{"clickhouse": "http://a", "finished_at": "x"}']),
        decodes(check, moved_file.MovedError),
        [b"[" * 100_000],
    )


@pytest.mark.fuzz
def test_any_file_of_slots_or_decisions_is_read_or_named_as_none(fuzz: Fuzz, tmp_path: Path) -> None:
    whole = tmp_path / "whole.db"
    table = slot_file.SlotFile(whole)
    table["03/10s/1700000040"] = b"{}"
    table.commit()
    table.close()

    def check(data: bytes) -> None:
        file = tmp_path / "damaged.db"
        for left in tmp_path.glob("damaged.db*"):
            left.unlink(missing_ok=True)
        file.write_bytes(data)
        slot_file.read_slots(file)

    def check_journal(data: bytes) -> None:
        file = tmp_path / "alerts.db"
        for left in tmp_path.glob("alerts.db*"):
            left.unlink(missing_ok=True)
        file.write_bytes(data)
        journal = FileJournal(file)
        try:
            list(journal.load())
        finally:
            journal.close()

    fuzz(mutated([whole.read_bytes()]), decodes(check, sqlite3.Error))
    fuzz(mutated([whole.read_bytes()]), decodes(check_journal, sqlite3.Error))


@pytest.mark.fuzz
def test_any_file_of_the_log_is_records_or_damage(fuzz: Fuzz, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    log = LocalLog(whole)
    for number in range(3):
        log.append([Append(CALLS, [b'{"a":%d}' % number] * 40, [b"k"] * 40)], number)
    log.close()

    def check(data: bytes) -> None:
        (tmp_path / log_file.FILE_NAME).write_bytes(data)
        reader = LocalLogReader(tmp_path)
        try:
            reader.damage()
            reader.read(CALLS, 0, 0, 1_000, 1_000_000)
        finally:
            reader.close()

    known = [(whole / log_file.FILE_NAME).read_bytes()]
    fuzz(mutated(known), decodes(check, sqlite3.Error, LogCorruptError, KeyError), known)
