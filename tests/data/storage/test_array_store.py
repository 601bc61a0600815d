"""A store returns what was put in, refuses what is not whole, and is built once and whole or not at all."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from data.storage.array_store import INDEX, VALUES, ArrayStore, StoredClip, build_once, write_store, written_whole
from data.types import BadInputError


def arrays(count: int = 5, trailing: tuple[int, ...] = (3,), dtype: str = "float32") -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(n, *trailing)) * 100).astype(dtype) for n in range(count)]


def built(folder: Path, trailing: tuple[int, ...] = (3,), dtype: str = "float32") -> ArrayStore:
    build_once(folder, lambda new: write_store(new, arrays(5, trailing, dtype), dtype, trailing, {"rate": 8}))
    return ArrayStore(folder)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "uint8"])
@pytest.mark.parametrize("trailing", [(), (3,), (2, 4)])
def test_every_array_is_read_as_it_was_written(tmp_path: Path, dtype: str, trailing: tuple[int, ...]) -> None:
    store = built(tmp_path / "store", trailing, dtype)
    assert len(store) == 5
    assert store.metadata == {"rate": 8}
    for index in (3, 0, 4, 1, 2):  # array 0 is empty
        np.testing.assert_array_equal(store[index], arrays(5, trailing, dtype)[index])
        assert store[index].dtype == np.dtype(dtype)


def test_clips_are_copies_and_16_bit_sound_becomes_floats(tmp_path: Path) -> None:
    store = built(tmp_path / "store", (), "int16")
    clip = StoredClip(store, 4)
    expected = torch.from_numpy(arrays(5, (), "int16")[4]).float() / 32768
    torch.testing.assert_close(clip.read(), expected, rtol=0, atol=0)
    clip.read().zero_()
    torch.testing.assert_close(clip.read(), expected, rtol=0, atol=0)


def test_the_file_cannot_be_changed_through_a_store(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        built(tmp_path / "store")[4][0] = 1


def test_an_index_outside_is_an_error(tmp_path: Path) -> None:
    store = built(tmp_path / "store")
    for index in (-1, 5):
        with pytest.raises(IndexError, match=rf"index={index} must be in \[0, 5\)"):
            store[index]


def test_pickling_opens_the_folder_again_and_copies_no_values(tmp_path: Path) -> None:
    big = np.zeros((100_000, 3), dtype=np.float32)
    build_once(tmp_path / "store", lambda new: write_store(new, [big, big + 1], "float32", (3,)))
    pickled = pickle.dumps(StoredClip(ArrayStore(tmp_path / "store"), 1))
    assert len(pickled) < 1000
    assert bool((pickle.loads(pickled).read() == 1).all())


@pytest.mark.parametrize("keep", [0, 1, 50])
def test_a_truncated_store_is_refused(tmp_path: Path, keep: int) -> None:
    folder = built(tmp_path / "store").folder
    content = (folder / VALUES).read_bytes()
    (folder / VALUES).write_bytes(content[:keep])
    with pytest.raises(BadInputError, match=rf"values.bin: holds {keep} bytes where its index says 120"):
        ArrayStore(folder)


def test_a_folder_without_a_whole_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"index\.json: not the index"):
        ArrayStore(tmp_path)
    (tmp_path / INDEX).write_text("{")
    with pytest.raises(BadInputError, match=r"index\.json: not the index"):
        ArrayStore(tmp_path)
    (tmp_path / INDEX).write_text(json.dumps({"dtype": "int16"}))
    with pytest.raises(BadInputError, match=r"index\.json: lacks lengths, metadata, trailing_shape"):
        ArrayStore(tmp_path)


def test_an_array_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"array 1 has shape \(2, 4\)"):
        write_store(tmp_path, [np.zeros((2, 3)), np.zeros((2, 4))], "float32", (3,))


def test_what_exists_is_not_built_again(tmp_path: Path) -> None:
    built(tmp_path / "store")

    def fail(_: Path) -> None:
        raise AssertionError("built twice")

    build_once(tmp_path / "store", fail)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(new: Path) -> None:
        (new / "half").write_text("half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        build_once(tmp_path / "store", fail)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    assert len(built(tmp_path / "store")) == 5


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(BadInputError, match=r"store: cannot be written: No space left on device$"):
        build_once(tmp_path / "store", fail)


def test_a_place_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be written"):
        built(tmp_path / "file" / "store")
    with pytest.raises(BadInputError, match="cannot be written"), written_whole(tmp_path / "file" / "store"):
        pass


def _build_slowly(folder: Path, log: Path) -> None:
    def build(new: Path) -> None:
        with log.open("a") as file:
            file.write("x")
        time.sleep(0.5)
        write_store(new, arrays(), "float32", (3,))

    build_once(folder, build)


def _build_for_ever(folder: Path, log: Path) -> None:
    def build(new: Path) -> None:
        (new / VALUES).write_bytes(b"half")
        log.write_text("x")
        time.sleep(600)

    build_once(folder, build)


def test_of_many_builders_one_builds_and_the_others_wait(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    arguments = (tmp_path / "store", tmp_path / "log")
    processes = [context.Process(target=_build_slowly, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
        assert len(ArrayStore(tmp_path / "store")) == 5
    assert (tmp_path / "log").read_text() == "x"


def test_after_a_killed_builder_the_next_one_builds(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=_build_for_ever, args=(tmp_path / "store", tmp_path / "log")
    )
    process.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "log").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "store").exists()
    np.testing.assert_array_equal(built(tmp_path / "store")[4], arrays()[4])
