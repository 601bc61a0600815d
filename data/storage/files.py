"""Files that rows name: only what is a file of a known size is opened, so that no row can make a training wait."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from data.bad_samples import reason
from data.spelling import spelled
from data.types import BadSampleError

# More than any picture or text of a row; sound is read piece by piece, and knows its length before.
LARGEST_FILE = 2**30


def unreadable(path: Path) -> str:
    """Why there is no file to read at `path`; empty if there is one.

    A folder is none. A pipe or a device is none either, because nobody knows whether it ends.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "file not found"
    except (OSError, ValueError) as error:  # ValueError: a null byte, or a name that the system cannot hold
        return f"cannot be read ({reason(error)})"
    if stat.S_ISDIR(mode):
        return "is a folder, not a file"
    if not stat.S_ISREG(mode):
        return "is a pipe or a device, not a file"
    return "" if os.access(path, os.R_OK) else f"cannot be read ({os.strerror(errno.EACCES)})"


def check_file(path: Path) -> None:
    """Raises `BadSampleError` that names the path if there is no file to read."""
    if problem := unreadable(path):
        raise BadSampleError(f"{spelled(str(path))}: {problem}")


def read_file(path: Path) -> bytes:
    """The bytes of a file. Raises `BadSampleError` if it cannot be read, or has more than `LARGEST_FILE` bytes."""
    check_file(path)
    try:
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise BadSampleError(f"{spelled(str(path))}: has {size} bytes, more than {LARGEST_FILE}")
        return path.read_bytes()
    except OSError as error:
        raise BadSampleError(f"{spelled(str(path))}: cannot be read ({reason(error)})") from error


def file_size(path: Path) -> int:
    """Bytes of a file; -1 if there is none."""
    try:
        return -1 if unreadable(path) else path.stat().st_size
    except OSError:
        return -1
