"""The hash in Python is the engine's: an entry that one wrote is found by the other."""

from pathlib import Path
from random import Random

from llmtrail.store.cityhash import city_hash64
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
