"""A file is the old one or the new one, whatever happens in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.storage.atomic_write import write_bytes, write_text

resource = pytest.importorskip("resource", reason="needs a limit on the size of files")


def test_a_file_is_replaced_by_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    for text in ("Größe\n", "shorter\n"):
        write_text(path, text)
        assert path.read_bytes() == text.encode("utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_to_its_end_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_bytes(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_bytes(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
