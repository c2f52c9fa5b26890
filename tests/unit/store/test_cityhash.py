"""The hash in Python is the engine's: an entry that one wrote is found by the other."""

import struct
from pathlib import Path
from random import Random

from llmtrail.store.cityhash import city_hash64, city_hash128
from llmtrail.store.handle import open_chdb


def test_any_text_of_any_length_has_the_hash_that_the_engine_gives_it(tmp_path: Path) -> None:
    # Given texts of every length about the bounds at which the algorithm changes, and a long one
    random = Random(7)
    texts = [random.randbytes(size) for size in (*range(140), 4_096)]
    hashes = ", ".join(f"cityHash64(unhex('{text.hex()}'))" for text in texts)
    # When the engine hashes them
    store = open_chdb(tmp_path)
    told = store.query(f"SELECT [{hashes}]")[0][0]
    store.close()
    # Then each hash is the same
    assert [city_hash64(text) for text in texts] == list(told)


def test_blocks_that_the_engine_wrote_have_the_checksum_that_stands_before_them(tmp_path: Path) -> None:
    # Given columns of many lengths, as the engine's own compressed blocks on disk
    store = open_chdb(tmp_path)
    for number, rows in enumerate((*range(1, 12), 40, 1_000, 100_000)):
        store.command(
            f"CREATE TABLE t{number} (a String, b UInt64) ENGINE = MergeTree ORDER BY b "
            "SETTINGS min_bytes_for_wide_part = 0"
        )
        store.command(f"INSERT INTO t{number} SELECT randomPrintableASCII(number % 40), rand64() FROM numbers({rows})")
    store.close()
    # When their checksums are computed anew
    blocks = [block for file in tmp_path.rglob("*.bin") for block in blocks_of(file.read_bytes())]
    # Then each is the one that the engine wrote
    assert len(blocks) > 40
    assert all(city_hash128(block) == checksum for checksum, block in blocks)
    assert {len(block) // 128 for _, block in blocks} >= {0, 1}


def blocks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 0
    while place < len(data):
        _, size, _ = struct.unpack_from("<BII", data, place + 16)
        found.append((data[place : place + 16], data[place + 16 : place + 16 + size]))
        place += 16 + size
    return found
