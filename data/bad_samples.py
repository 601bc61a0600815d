"""What can be wrong with one row, said in one line that is the same in every run.

Reading a row has three stages: its line is parsed, its sample is read from the source, and its segments become tokens
and values. Whatever a stage meets, an error of the system or of a library too, is the fault of that row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from data.spelling import printable, spelled
from data.types import BadInputError, BadSampleError

# Faults of the program or of how it is installed: no row can be blamed for them.
BUGS = (NameError, ImportError, NotImplementedError, AssertionError)
# How Python names an object that has no name: by where it lies in memory, which is elsewhere in every run.
ADDRESS = re.compile(r"\s*<[^<>]* at 0x[0-9a-fA-F]+>")
DEEPEST = 64


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Makes whatever is raised in the block the `BadSampleError` of the row that is read, "where: reason".

    A `BadInputError` stays what it is: a `BadSampleError` says its row already, and any other is about more than one
    row. Faults of the program and an interruption stay what they are, too.
    """
    try:
        yield
    except (BadInputError, *BUGS):
        raise
    except Exception as error:
        raise BadSampleError(f"{where}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """What an error says, as one line without addresses in memory; with its type where that alone says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = spelled(" ".join(ADDRESS.sub("", str(error)).split())).strip(" :")
    if isinstance(error, LookupError) or not text:  # a bare key says nothing
        return f"{type(error).__name__} {text}".strip()
    return text


def check_text(value: Any, where: str, depth: int = 0) -> None:
    """Raises `BadSampleError` that names the field, for what is nested too deeply, and for text that cannot be written.

    It reads plain containers. JSON can spell half a surrogate pair: that is no character and has no bytes.
    """
    if isinstance(value, str):
        if not value.isascii():
            _check_characters(value, where)
        return
    if not isinstance(value, Mapping | list | tuple):
        return
    if depth == DEEPEST:
        raise BadSampleError(f"{where}: nested too deeply, more than {DEEPEST} levels")
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_text(key, f"{where}: the name {spelled(str(key), 40)}", depth + 1)
            check_text(item, f"{where}.{key}" if depth else f"{where}: {key}", depth + 1)
    else:
        for place, item in enumerate(value):
            check_text(item, f"{where}[{place}]", depth + 1)


def _check_characters(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = printable(text[error.start])
        raise BadSampleError(f"{where}: holds {half}, half a surrogate pair, which is no character") from error
