"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Writes to a temporary name and renames it when all is on the disk.

    A reader sees the old file or the new one, never half of one, and if writing fails (`OSError`) the old one stays.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8; half a surrogate pair as `\\udXXX`, which JSON reads back."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))
