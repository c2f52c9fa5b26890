"""Which parts are active by their names, and what links to them hold while the store merges."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.store.box.links import Links, active_parts
from llmtrail.store.errors import StoreError

_UUID = "0b4a4a4e-0000-4000-8000-000000000001"
_SQL = f"ATTACH TABLE _ UUID '{_UUID}'\n(\n    `a` UInt8\n)\nENGINE = MergeTree\nORDER BY a\n"
_LATER_NS = 2**62


def _store(folder: Path) -> Path:
    metadata, data = folder / "metadata" / "llmtrail", folder / "store" / _UUID[:3] / _UUID
    metadata.mkdir(parents=True)
    data.mkdir(parents=True)
    (metadata / "t.sql").write_text(_SQL)
    (data / "format_version.txt").write_text("1")
    return data


def _part(data: Path, name: str) -> None:
    (data / f"tmp_{name}").mkdir()
    (data / f"tmp_{name}" / "data.bin").write_text(name)
    (data / f"tmp_{name}").rename(data / name)


def _linked(links: Links) -> set[str]:
    return {file.parent.name for file in links.folder.rglob("data.bin")}


def test_active_are_the_parts_that_no_other_covers() -> None:
    names = ["all_1_1_0", "all_2_2_0", "all_1_2_1", "all_3_3_0", "all_3_3_0_7", "20260101_1_9_2", "detached", "tmp_x"]
    names += ["delete_tmp_all_4_4_0", "format_version.txt", "mutation_7.txt"]
    assert active_parts(names) == {"all_1_2_1", "all_3_3_0_7", "20260101_1_9_2"}


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_every_block_is_in_one_active_part_whatever_remains_of_its_merges(sizes: list[int], random: object) -> None:
    blocks = list(range(1, sum(sizes) + 1))
    names, low = [f"all_{block}_{block}_0" for block in blocks], 1
    for level, size in enumerate(sizes, start=1):
        names.append(f"all_{low}_{low + size - 1}_{level}")
        low += size
    random.shuffle(names)  # type: ignore[attr-defined]
    held = [name.split("_")[1:3] for name in active_parts(names)]
    assert sorted(block for first, last in held for block in range(int(first), int(last) + 1)) == blocks


def test_links_follow_a_merge_and_keep_its_inputs_until_they_are_released(tmp_path: Path) -> None:
    data = _store(tmp_path / "store")
    _part(data, "all_1_1_0")
    _part(data, "all_2_2_0")
    links = Links(tmp_path / "store", tmp_path / "links", _LATER_NS)
    first = links.generation
    assert _linked(links) == {"all_1_1_0", "all_2_2_0"}
    _part(data, "all_1_2_1")
    assert links.follow(_LATER_NS) > first
    assert _linked(links) == {"all_1_1_0", "all_2_2_0", "all_1_2_1"}
    links.release(first)
    assert "all_1_1_0" in _linked(links)
    links.release(links.generation)
    assert _linked(links) == {"all_1_2_1"}
    assert not links.outdated
    links.remove()
    assert not (tmp_path / "links").exists()
    assert (data / "all_1_2_1" / "data.bin").read_text() == "all_1_2_1"


def test_links_are_outdated_where_a_part_has_no_successor_or_a_table_changes(tmp_path: Path) -> None:
    data = _store(tmp_path / "store")
    _part(data, "all_1_1_0")
    links = Links(tmp_path / "store", tmp_path / "links", _LATER_NS)
    links.check_schema()
    assert not links.outdated
    (data / "all_1_1_0").rename(data / "delete_tmp_all_1_1_0")
    links.follow(_LATER_NS)
    assert links.outdated
    others = Links(tmp_path / "store", tmp_path / "others", _LATER_NS)
    (tmp_path / "store" / "metadata" / "llmtrail" / "u.sql").write_text(_SQL)
    others.check_schema()
    assert others.outdated


def test_a_folder_that_is_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        Links(tmp_path, tmp_path / "links", _LATER_NS)
