"""The spool on a disk that lies: damage costs what it touches, is counted, and stops nothing."""

import os
from pathlib import Path

from llmtrail.emit import spool_files
from llmtrail.emit.spool import Spool, SpoolLimits
from llmtrail.emit.tally import Tally

_EVENTS = [b'{"n":%d}' % n for n in range(10)]


def make(root: Path, token: str, tally: Tally) -> Spool:
    return Spool(root, token, tally, SpoolLimits(segment_bytes=100, total_bytes=10_000))


def filled(root: Path, tally: Tally) -> Spool:
    """Five events in each of two segments."""
    spool = make(root, "a", tally)
    spool.append(_EVENTS[:5], 0)
    spool.append(_EVENTS[5:], 0)
    spool.sync()
    assert len(list(root.rglob("*.seg"))) == 2
    return spool


def damage(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(bytes(data))


def everything(spool: Spool) -> list[bytes]:
    found: list[bytes] = []
    while spool.pending:
        events = spool.read(3, 1_000)
        found += events
        spool.acknowledge(len(events))
    return found


def test_a_damaged_record_costs_the_rest_of_its_segment_and_is_counted(tmp_path: Path) -> None:
    tally = Tally()
    spool = filled(tmp_path, tally)
    damage(min(tmp_path.rglob("*.seg")), 20)  # inside the second record
    assert everything(spool) == [_EVENTS[0], *_EVENTS[5:]]
    assert tally.dropped == {"spool_corrupt": 4}
    spool.close()


def test_a_segment_that_somebody_deleted_is_counted(tmp_path: Path) -> None:
    tally = Tally()
    spool = filled(tmp_path, tally)
    min(tmp_path.rglob("*.seg")).unlink()
    assert everything(spool) == _EVENTS[5:]
    assert tally.dropped == {"spool_corrupt": 5}
    spool.close()


def test_a_folder_left_behind_is_adopted_once_and_removed_when_it_is_done(tmp_path: Path) -> None:
    filled(tmp_path, Tally()).close()
    (left,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    (left / "00000009.draft").write_bytes(b"half written")
    first, second = make(tmp_path, "b", Tally()), make(tmp_path, "c", Tally())
    assert first.attach(spool_files.adopt_folders(tmp_path)) == 10
    assert second.attach(spool_files.adopt_folders(tmp_path)) == 0
    first.append([b"own"], 0)
    assert everything(first) == [*_EVENTS, b"own"]
    assert not left.exists()
    first.remove_if_empty()
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_any_segment_is_swept(tmp_path: Path) -> None:
    folder = spool_files.make_folder(tmp_path, 1, "dead")
    os.close(folder.lock)
    make(tmp_path, "b", Tally()).attach(spool_files.adopt_folders(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_record_longer_than_a_batch_is_still_read(tmp_path: Path) -> None:
    spool = make(tmp_path, "a", Tally())
    spool.append([b"x" * 500, b"y"], 0)
    assert spool.read(10, 50) == [b"x" * 500]
    spool.acknowledge(1)
    assert everything(spool) == [b"y"]
    spool.close()
