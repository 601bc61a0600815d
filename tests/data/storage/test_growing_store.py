"""Arrays are made when they are needed, once, whoever asks; caches of older versions are read as they are."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data.storage import growing_store
from data.storage.array_store import StoredClip, write_store
from data.storage.growing_store import GrowingStore
from data.types import BadInputError

COUNT = 20


class Numbers(GrowingStore):
    """Array i holds i + 1 times a number that is another one in every store, so that a second making would show."""

    def __init__(self, folder: Path, number: int = 7) -> None:
        self.number, self.made = number, list[int]()
        super().__init__(folder, COUNT, np.int16, {"sample_rate": 8000})

    def make(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        for index in indices:
            self.made.append(index)
            yield np.full(index + 1, self.number)


def test_only_what_is_needed_is_made_and_only_once(tmp_path: Path) -> None:
    store = Numbers(tmp_path / "store")
    assert store.made == []
    store.ensure([5, 3, 3])
    store.ensure({3, 4})
    assert store.made == [3, 5, 4]
    assert store.missing(range(7)) == [0, 1, 2, 6]
    assert [store[index].tolist() for index in (3, 4, 5)] == [[7] * 4, [7] * 5, [7] * 6]
    assert store.made == [3, 5, 4]
    assert not store.is_complete


def test_another_process_finds_what_was_made_and_makes_the_rest(tmp_path: Path) -> None:
    first, early = Numbers(tmp_path / "store"), Numbers(tmp_path / "store", number=9)
    first.ensure([1, 2])
    late = Numbers(tmp_path / "store", number=9)
    for other in (early, late):
        assert StoredClip(other, 2).read().tolist() == [7 / 32768] * 3
        assert other.made == []
    late.ensure(range(COUNT))
    assert late.made == [0, *range(3, COUNT)]
    assert [int(late[index][0]) for index in range(COUNT)] == [9, 7, 7] + [9] * 17
    assert late.is_complete


def test_two_at_a_time_never_make_the_same(tmp_path: Path) -> None:
    stores = [Numbers(tmp_path / "store", number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda store: store.ensure(range(store.number, store.number + 8)), stores))
    assert sorted(index for store in stores for index in store.made) == list(range(11))
    assert all(np.array_equal(stores[0][index], stores[3][index]) for index in range(11))


def test_what_nobody_announced_brings_the_rest_with_it(tmp_path: Path) -> None:
    store = Numbers(tmp_path / "store")
    store.ensure([0])
    assert store[8].tolist() == [7] * 9
    assert store.made == list(range(COUNT))


def test_parts_stay_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_store, "MOST_PARTS", 3)
    store = Numbers(tmp_path / "store")
    for index in range(3):
        store.ensure([index])
    assert not store.is_complete
    store.ensure([3])
    assert store.is_complete
    assert len(list((tmp_path / "store").glob("part-*"))) == 4


def test_a_cache_that_was_made_whole_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    write_store(tmp_path / "store", (np.full(index + 1, 5) for index in range(COUNT)), np.int16)
    store = Numbers(tmp_path / "store")
    assert store.is_complete
    assert store[19].tolist() == [5] * 20
    assert store.made == []
    assert store.place(3)[0].folder == store.folder  # so the spectrograms kept for it are found too


def test_the_name_of_a_clip_does_not_say_where_it_lies(tmp_path: Path) -> None:
    """Fingerprints of data hold it, and must not depend on what was made when."""
    store = Numbers(tmp_path / "store")
    before = repr(StoredClip(store, 4))
    store.ensure([4])
    assert repr(StoredClip(store, 4)) == before == "StoredClip(store[4])"


def test_it_travels_to_another_process_without_its_arrays(tmp_path: Path) -> None:
    store = Numbers(tmp_path / "store")
    store.ensure(range(COUNT))
    pickled = pickle.dumps(store)
    (tmp_path / "unused").write_bytes(pickled)
    assert np.array_equal(pickle.loads(pickled)[11], store[11])


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    store = Numbers(tmp_path / "store")
    left = tmp_path / "store" / "part-0123456789ab.tmp"
    left.mkdir(parents=True)
    store.ensure([1])
    assert not left.exists()
    assert Numbers(tmp_path / "store").missing([1, 2]) == [2]


def test_a_place_that_cannot_be_written_and_an_index_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be written"):
        Numbers(tmp_path / "file" / "store").ensure([1])
    with pytest.raises(IndexError, match=r"must be in \[0, 20\)"):
        Numbers(tmp_path / "store").place(COUNT)


@pytest.mark.parametrize("index", ["3", '{"dtype": "int16"', "{}", None])
def test_a_part_with_a_damaged_index_is_named(index: str | None, tmp_path: Path) -> None:
    store = Numbers(tmp_path / "store")
    store.ensure([1, 2])
    (part,) = (tmp_path / "store").glob("part-*")
    file = part / "index.json"
    file.write_text(file.read_text().replace('"indices"', '"others"') if index is None else index)
    with pytest.raises(BadInputError, match=f"delete {part}"):
        Numbers(tmp_path / "store")
