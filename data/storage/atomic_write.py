"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the name `path` when the block ends well and all is on the disk, and is removed otherwise.

    A reader sees the old file or the new one, never half of one, and if writing fails (`OSError`) the old one stays.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """As `whole_file`, of content that is there."""
    with whole_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8; half a surrogate pair as `\\udXXX`, which JSON reads back."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))
