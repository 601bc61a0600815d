"""`prepare_data.py clean=`: a manifest without rows that hold what an earlier row holds, or a row of other manifests.

Two rows hold the same if their turns or segments do. Text must be equal, letter by letter, and media must have equal
pixels or samples (of other modalities, bytes). Their files, formats, ids and metadata do not matter.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from data.inspection.manifests import REMOVED
from data.inspection.scan import MediaReader, read_rows, row_keys, segment_key
from data.sources.messages import named_segments
from data.storage.atomic_write import whole_file
from data.types import AlignedSample, BadInputError, BadSampleError, Media, Sample

EARLIER = "earlier rows"


def clean(path: Path, others: Mapping[str, Path], output: Path) -> list[str]:
    """Writes the rows that are kept to `output`, and which were left out, and why, to a file next to it.

    Media stay where they are; relative paths are written as seen from the new file's folder. Rows that cannot be read
    are kept as they are. Returns what was done, in lines for a person.
    Raises `BadInputError` when a file to be written exists, or a manifest cannot be read or holds no rows.
    """
    removed = output.with_name(output.stem + REMOVED)
    for file in (output, removed):
        if file.exists():
            raise BadInputError(f"output: {file}: exists already, and is not overwritten")
    if path.resolve() in [other.resolve() for other in others.values()]:
        raise BadInputError(f"against: {path}: is the file that is cleaned")
    reader = MediaReader()
    known: dict[int | None, tuple[str, int]] = {}
    for name, other in others.items():
        for line, _, key, _ in _keyed_rows(other, reader):
            known.setdefault(key, (name, line))
    known.pop(None, None)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as files:
            rows, reasons = (files.enter_context(whole_file(file)) for file in (output, removed))
            counts = _write(path, reader, known, output.parent, rows, reasons)
    except OSError as error:
        raise BadInputError(f"output: {output}: cannot be written: {error.strerror or error}") from error
    return list(_told(counts, output, removed))


def _write(
    path: Path,
    reader: MediaReader,
    known: dict[int | None, tuple[str, int]],
    folder: Path,
    rows: Any,
    reasons: Any,
) -> Counter[str]:
    """Writes both files; returns how many rows were kept, not readable, and left out, by what they are equal to."""
    counts: Counter[str] = Counter()
    for line_number, line, key, sample in _keyed_rows(path, reader):
        if key is None:
            counts["unreadable"] += 1
        elif key in known:
            name, first = known[key]
            counts[f"the same as {name or EARLIER}"] += 1
            reason = f"the same as {f'{name}:{first}' if name else f'line {first}'}"
            told = {"line": line_number, "id": sample.id if sample else "", "reason": reason}
            reasons.write(json.dumps(told).encode() + b"\n")
            continue
        else:
            known[key] = ("", line_number)
        counts["kept"] += 1
        rows.write(moved(line, path.parent, folder) + b"\n")
    return counts


def _keyed_rows(
    path: Path, reader: MediaReader
) -> Iterator[tuple[int, bytes, int | None, Sample | AlignedSample | None]]:
    """Line number, line, number of the content and sample of every row; None for both where it cannot be read."""
    for line_number, line, sample in read_rows(path):
        if isinstance(sample, BadSampleError):
            yield line_number, line, None, None
        else:
            keys = [segment_key(segment, _content(segment, reader)) for _, segment in named_segments(sample)]
            yield line_number, line, row_keys(sample, keys)[0], sample


def _content(segment: Any, reader: MediaReader) -> int | None:
    if not isinstance(segment, Media):
        return None
    try:
        return reader.read(segment)[0]
    except BadSampleError:
        return None  # known by its file


def moved(line: bytes, folder: Path, new_folder: Path) -> bytes:
    """A row with its relative paths as seen from another folder; one that needs no change stays letter by letter."""
    line = line.rstrip(b"\r\n")
    if folder.resolve() == new_folder.resolve():
        return line
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return line  # not a row; whoever reads it says so
    changed = False
    for segment in _written_segments(row):
        path = segment.get("path")
        if isinstance(path, str) and path and not Path(path).is_absolute():
            segment["path"], changed = _seen_from(new_folder, folder / path), True
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") if changed else line


def _seen_from(folder: Path, file: Path) -> str:
    """The path of a file relative to a folder; absolute where a link on the way makes the relative one wrong."""
    try:
        relative = os.path.relpath(file.parent.resolve() / file.name, folder.resolve())
        is_right = os.path.exists(folder / relative) == os.path.exists(file)  # noqa: PTH110 (of any text, without errors)
        return relative if is_right else str(file.resolve())
    except (OSError, ValueError):  # no path at all, such as one with a zero byte
        return os.path.relpath(file, folder)


def _written_segments(row: Any) -> Iterator[dict[str, Any]]:
    """The segments of a row as it is written, which may be wrong in any way."""
    groups = [row.get("aligned")] if isinstance(row, dict) else []
    messages = row.get("messages") if isinstance(row, dict) else None
    groups += [item.get("content") for item in messages if isinstance(item, dict)] if isinstance(messages, list) else []
    for group in groups:
        yield from (item for item in group if isinstance(item, dict)) if isinstance(group, list) else ()


def _told(counts: Counter[str], output: Path, removed: Path) -> Iterator[str]:
    reasons = {name: count for name, count in counts.items() if name not in ("kept", "unreadable")}
    left_out = sum(reasons.values())
    yield f"wrote {output}: {counts['kept']:,} of {counts['kept'] + left_out:,} rows"
    why = "; ".join(f"{count:,} {name}" for name, count in reasons.items())
    yield f"left out {left_out:,}{f' ({why})' if why else ''}: see {removed}"
    if counts["unreadable"]:
        yield f"kept {counts['unreadable']:,} rows that cannot be read, as they are; check={output} names them"
