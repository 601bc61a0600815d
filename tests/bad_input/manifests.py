"""Manifests with something wrong in one row, or in the whole file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.bad_input.case import Case
from tests.bad_input.configurations import drawn
from tests.bad_input.small import good_data, training

# How a row's values are spoiled. JSON is written with escapes, so that half a surrogate pair can be.
VALUES: tuple[Any, ...] = (
    *(None, True, 7, -1, 1.5, float("nan"), float("inf"), 10**30, "", " ", "\ud800", "a\x00b", "\n", "x" * 5000),
    *([], {}, [None], [[]], {"a": {"b": [1]}}, "nowhere.png", "..", "/", "/dev/zero", ".", "a/" * 3000, "n" * 300),
    *("$x^$", "[red]", "<script>", "💥" * 9, "‮abc", "http://example.org/x.png", "é.png", ["a", 1], "null"),
)
BYTES = (b"", b"\xff\xfe\x00", b"{", b"[]", b"null", b"7", b'"text"', b"\xef\xbb\xbf{}", b"{" * 50_000, b"[" * 200_000)
FILES: dict[str, Callable[[bytes], bytes]] = {
    "an empty file": lambda content: b"",
    "blank lines alone": lambda content: b"\n\n  \n",
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "a NUL in the middle": lambda content: content[: len(content) // 2] + b"\x00" + content[len(content) // 2 :],
    "no line breaks": lambda content: content.replace(b"\n", b" "),
    "old line breaks": lambda content: content.replace(b"\n", b"\r"),
    "an array": lambda content: b"[" + b",".join(content.split(b"\n")[:-1]) + b"]",
    "an integer of 5,000 digits": lambda content: content.replace(b'"id": "3"', b'"id": ' + b"9" * 5000),
    "a picture": lambda content: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
    "a cut last line": lambda content: content[:-25],
    "a comma behind each row": lambda content: content.replace(b"\n", b",\n"),
}
ROLES = ("train", "evaluation", "validation", "both", "check")


def manifests(rng: np.random.Generator, number: int) -> Iterator[Case]:
    """Of five, four spoil one row and one the file."""
    for place in range(number):
        if place % 5 == 4:
            name = drawn(rng, tuple(FILES))
            yield wrong_file(rng, name, FILES[name])
        elif place % 5 == 3:
            content = drawn(rng, BYTES)
            yield wrong_file(rng, f"row of {content[:12]!r}", with_line(content, int(rng.integers(8))))
        else:
            yield wrong_row(rng)


def wrong_row(rng: np.random.Generator) -> Case:
    """One value of one row is another, is missing, or has another name."""
    seed, row = int(rng.integers(2**31)), int(rng.integers(8))
    name = changed(example(), np.random.default_rng(seed))[1]

    def spoil(content: bytes) -> bytes:
        rows = [json.loads(line) for line in content.decode().splitlines()]
        rows[row], _ = changed(rows[row] if row else example(), np.random.default_rng(seed))
        return "".join(json.dumps(item) + "\n" for item in rows).encode()

    return wrong_file(rng, name, spoil)


def wrong_file(rng: np.random.Generator, name: str, spoil: Callable[[bytes], bytes]) -> Case:
    """A training, an evaluation or a check of a file that was spoiled."""
    role = drawn(rng, ROLES)
    handling = drawn(rng, ("error", "skip"))

    def prepare(folder: Path) -> None:
        path = good_data(folder)
        (path.parent / "bad.jsonl").write_bytes(spoil(path.read_bytes()))

    good, bad = "good/manifest.jsonl", "good/bad.jsonl"
    if role == "check":
        return Case(f"check {name}", "prepare_data", lambda folder: [f"check={bad}", "output=checked"], prepare)
    options = {
        "train": training(bad, f"data.on_bad_sample={handling}"),
        "evaluation": training(good, f"data.evaluation={bad}", f"data.on_bad_sample={handling}"),
        "validation": training(good, f"data.validation_file={bad}", f"data.on_bad_sample={handling}"),
        "both": training(bad, f"data.evaluation={bad}", f"data.on_bad_sample={handling}"),
    }[role]
    return Case(f"{role} ({handling}) {name}", "train", lambda folder: options, prepare)


def with_line(content: bytes, place: int) -> Callable[[bytes], bytes]:
    """Puts `content` in the place of a row."""

    def spoil(whole: bytes) -> bytes:
        lines = whole.split(b"\n")
        lines[place] = content
        return b"\n".join(lines)

    return spoil


def example() -> dict[str, Any]:
    """A row with every kind of field."""
    function = {"name": "look", "arguments": '{"where": "left"}'}
    tool = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}
    asked = [{"type": "image", "path": "0.png"}, {"type": "text", "text": "what is it?"}]
    return {
        "id": "e",
        "source": "s",
        "metadata": {"answer_type": "colour", "image": "0", "asked_in": "text"},
        "tools": [tool],
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "be short"}]},
            {"role": "user", "content": asked},
            {"role": "assistant", "content": [], "tool_calls": [{"id": "1", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "a wall"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "a wall"}]},
        ],
    }


def changed(row: dict[str, Any], rng: np.random.Generator) -> tuple[dict[str, Any], str]:
    """A copy of a row with one place spoiled, and what was done."""
    row = copy.deepcopy(row)
    places = list(_places(row, row, "row"))
    parent, key, name = places[int(rng.integers(len(places)))]
    how = int(rng.integers(4))
    if how == 0:
        del parent[key]
        return row, f"without {name}"
    if how == 1 and isinstance(parent, dict):
        parent[f"{key}s"] = parent.pop(key)
        return row, f"{name}s"
    value = drawn(rng, VALUES)
    parent[key] = value
    return row, f"{name}={ascii(value)[:30]}"


def _places(node: Any, parent: Any, name: str) -> Iterator[tuple[Any, Any, str]]:
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        yield node, key, f"{name}.{key}"
        yield from _places(value, node, f"{name}.{key}")
