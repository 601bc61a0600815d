"""Which fields a row of a manifest has, level by level; a misspelt one is refused by its nearest name.

docs/data.md says what each of them means. A field that is null is not there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import OSA

from data.types import BadSampleError

# Where a key may be anything, one is taken for a slip if it becomes a field by one letter more, less or other, or two
# swapped; by two of these in fields of eight letters. Fields of two letters have too many neighbours (`idx`, `uid`).
SHORT, LONG = 2, 8
SIMILARITY = 0.6


@dataclass(frozen=True)
class Level:
    """The fields of one kind of object.

    is_open: other keys may stand next to them, as exports of other programs have them. Nothing reads them in a row, and
    the model reads them in a tool.
    """

    name: str
    fields: tuple[str, ...]
    is_open: bool = False


ROW = Level("a row", ("id", "messages", "aligned", "source", "metadata", "tools", "choices"), is_open=True)
MESSAGE = Level("a message", ("role", "content", "tool_calls", "tool_call_id", "name"))
SEGMENT = Level("a segment", ("type", "path", "data", "text", "absent"))
CALL = Level("a tool call", ("id", "type", "function"))
CALLED = Level("the function of a tool call", ("name", "arguments"))
TOOL = Level("a tool", ("type", "function"), is_open=True)
FUNCTION = Level("the function of a tool", ("name", "description", "parameters", "strict"), is_open=True)


def given(value: Mapping[str, Any], level: Level, where: str) -> dict[str, Any]:
    """The fields of an object that are not null. Raises `BadSampleError` for a key that it may not have."""
    for key in value:
        if key not in level.fields:
            _refuse(str(key), level, where)
    return {key: item for key, item in value.items() if item is not None}


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that `name` was probably meant to be, whatever its case."""
    by_lower = {item.lower(): item for item in names}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=SIMILARITY)
    return by_lower[found[0]] if found else None


def hint(name: str, names: Iterable[str]) -> str:
    """For the end of an error line: "; the nearest is NAME", or nothing."""
    found = nearest(name, names)
    return f"; the nearest is {found}" if found else ""


def _refuse(key: str, level: Level, where: str) -> None:
    found = nearest(key, level.fields)
    if level.is_open and not (found and _is_slip(key.lower(), found)):
        return
    meant = f"the nearest is {found}" if found else f"it may have {', '.join(level.fields)}"
    raise BadSampleError(f"{where}{key[:40]}: is no field of {level.name}; {meant}")


def _is_slip(key: str, field: str) -> bool:
    return len(field) > SHORT and OSA.distance(key, field) <= (2 if len(field) >= LONG else 1)
