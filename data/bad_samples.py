"""What can be wrong with one row, said in one line that is the same on every run.

Reading a row has three stages: its line is parsed, its sample is read from the source, and its segments become tokens
and values. Whatever a stage meets, an error of the system or of a library too, is the fault of that row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from data.types import BadInputError, BadSampleError, one_line

# Faults of the program or of how it is installed: no row can be blamed for them.
BUGS = (NameError, ImportError, NotImplementedError, AssertionError)
# How Python names an object that has no name: by where it lies in memory, which is elsewhere in every run.
ADDRESS = re.compile(r"\s*<[^<>]* at 0x[0-9a-fA-F]+>")
LONGEST_REASON = 300


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Makes whatever is raised in the block the `BadSampleError` of the row that is read, "where: reason".

    A `BadInputError` stays what it is (a `BadSampleError` says its row already, any other is about more than one row),
    and so do faults of the program and an interruption.
    """
    try:
        yield
    except (BadInputError, *BUGS):
        raise
    except Exception as error:
        raise BadSampleError(f"{where}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """What an error says, as one line without addresses in memory; its type where it says nothing or nearly so."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = one_line(ADDRESS.sub("", str(error)), LONGEST_REASON).strip(" :")
    if isinstance(error, LookupError) or not text:  # a bare key says nothing
        return f"{type(error).__name__} {text}".strip()
    return text
