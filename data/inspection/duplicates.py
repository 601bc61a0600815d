"""What occurs twice within a manifest, and what a later manifest shares with an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from data.inspection.facts import Picture, Sound
from data.inspection.findings import Finding
from data.inspection.prints.picture_prints import alike
from data.inspection.prints.sound_prints import same_recordings
from data.inspection.prints.text_prints import near_texts
from data.inspection.scan import Row, Scan

LEAKS = ("leaked_row", "leaked_medium", "near_leak")


@dataclass(frozen=True)
class Twins:
    """Two contents that are nearly equal, by their places in `Scan.contents`, the earlier one first, and how near."""

    first: int
    second: int
    closeness: str


def compare(scan: Scan) -> tuple[list[Twins], list[Finding]]:
    """Media that are nearly equal, and all findings about rows, media and texts, within each manifest and across them.

    A row that leaks is told once, by the worst of its leaks.
    """
    twins = twin_media(scan)
    leaked: set[int] = set()
    findings = []
    for number, finding in (*_equal_rows(scan), *_equal_media(scan), *_near_media(scan, twins), *_near_texts(scan)):
        if finding.kind in LEAKS:
            if number in leaked:
                continue
            leaked.add(number)
        findings.append(finding)
    return twins, findings


def twin_media(scan: Scan) -> list[Twins]:
    """Pictures that look alike, and sounds that are one recording; contents that are equal are one content."""
    pictures = [(place, facts.print) for place, facts in enumerate(scan.contents) if isinstance(facts, Picture)]
    sounds = [(place, facts.print) for place, facts in enumerate(scan.contents) if isinstance(facts, Sound)]
    found = [
        Twins(pictures[first][0], pictures[second][0], f"{distance} of 64 bits differ")
        for first, second, distance in alike([item for _, item in pictures])
    ]
    found += [
        Twins(sounds[first][0], sounds[second][0], f"{errors:.0%} of the bits differ")
        for first, second, errors in same_recordings([item for _, item in sounds])
    ]
    return sorted(found, key=lambda twins: (twins.second, twins.first))


def _equal_rows(scan: Scan) -> Iterator[tuple[int, Finding]]:
    order = list(scan.paths)
    contents: dict[int, dict[str, Row]] = {}
    prompts: dict[int, dict[str, Row]] = {}
    ids: dict[tuple[str, str], int] = {}
    for number, row in enumerate(scan.rows):
        first_line = ids.setdefault((row.split, row.id), row.line)
        if first_line != row.line:
            yield number, _finding("repeated_id", row, detail=f"as line {first_line}")
        same = contents.setdefault(row.content, {})
        if elsewhere := [other for split, other in same.items() if split != row.split]:
            first = min(elsewhere, key=lambda other: order.index(other.split))
            yield number, _finding("leaked_row", row, detail=f"the same as {_place(first)}")
        if row.split in same:
            yield number, _finding("repeated_row", row, detail=f"the same as line {same[row.split].line}")
        elif row.prompt is not None:
            others = prompts.setdefault(row.prompt, {})
            other = others.get(row.split) or next(iter(others.values()), None)
            if other is not None and other.content != row.content:
                yield number, _finding("other_answer", row, detail=f"asks the same as {_place(other)}")
            others.setdefault(row.split, row)
        same.setdefault(row.split, row)


def _equal_media(scan: Scan) -> Iterator[tuple[int, Finding]]:
    """A file of the same content as an earlier file; a content that an earlier manifest has too."""
    first_use: dict[int, dict[str, tuple[int, str | None]]] = {}
    files: set[tuple[str, str]] = set()
    for use in scan.uses:
        row = scan.rows[use.row]
        by_split = first_use.setdefault(use.content, {})
        if elsewhere := next((item for split, item in by_split.items() if split != row.split), None):
            detail = f"the same as in {_place(scan.rows[elsewhere[0]])}"
            yield use.row, _finding("leaked_medium", row, use.field, detail)
        if use.file is not None and (row.split, use.file) not in files:
            files.add((row.split, use.file))
            known = by_split.get(row.split)
            if known is not None and known[1] is not None:
                detail = f"{use.file} holds the same as {known[1]} of line {scan.rows[known[0]].line}"
                yield use.row, _finding("same_medium", row, use.field, detail)
        by_split.setdefault(row.split, (use.row, use.file))


def _near_media(scan: Scan, twins: Iterable[Twins]) -> Iterator[tuple[int, Finding]]:
    rows_of: dict[int, dict[str, list[tuple[int, str, str | None]]]] = {}
    for use in scan.uses:
        by_split = rows_of.setdefault(use.content, {})
        by_split.setdefault(scan.rows[use.row].split, []).append((use.row, use.field, use.file))
    told: set[tuple[int, str]] = set()
    for pair in twins:
        for split, uses in rows_of[pair.second].items():
            if split in rows_of[pair.first] and (pair.second, split) not in told:
                told.add((pair.second, split))
                kind = "near_picture" if isinstance(scan.contents[pair.second], Picture) else "near_sound"
                detail = _near(scan, uses[0][2], rows_of[pair.first][split][0], pair.closeness)
                yield uses[0][0], _finding(kind, scan.rows[uses[0][0]], uses[0][1], detail)
        yield from _near_leaks(scan, rows_of, pair)


def _near_leaks(
    scan: Scan, rows_of: dict[int, dict[str, list[tuple[int, str, str | None]]]], pair: Twins
) -> Iterator[tuple[int, Finding]]:
    """Rows of later manifests with one of the twins, where an earlier manifest has the other."""
    order = list(scan.paths)
    for mine, other in ((pair.first, pair.second), (pair.second, pair.first)):
        for split, uses in rows_of[mine].items():
            earlier = [name for name in rows_of[other] if order.index(name) < order.index(split)]
            for row, field, file in uses if earlier else ():
                detail = _near(scan, file, rows_of[other][earlier[0]][0], pair.closeness)
                yield row, _finding("near_leak", scan.rows[row], field, detail)


def _near(scan: Scan, file: str | None, other: tuple[int, str, str | None], closeness: str) -> str:
    return f"{file or 'data'} is like {other[2] or 'data'} of {_place(scan.rows[other[0]])}: {closeness}"


def _near_texts(scan: Scan) -> Iterator[tuple[int, Finding]]:
    """Texts equal but for case and punctuation, and nearly equal ones; rows that are equal have been told."""
    rows_of: dict[int, list[int]] = {}
    for row, text in scan.text_uses:
        for earlier in rows_of.get(text, ())[:1]:
            yield from _texts_in(scan, "same_text", row, earlier, "the same words as")
        rows_of.setdefault(text, []).append(row)
    told: set[tuple[int, str]] = set()
    for first, second, ratio in sorted(near_texts(scan.texts, scan.text_prints), key=lambda pair: (pair[1], pair[0])):
        for row in rows_of[second]:
            split = scan.rows[row].split
            same = [other for other in rows_of[first] if scan.rows[other].split == split]
            if same and (second, split) not in told:
                told.add((second, split))
                yield from _texts_in(scan, "near_text", row, same[0], f"{ratio:.0f} % the words of")
            if across := [other for other in rows_of[first] if scan.rows[other].split != split]:
                yield from _texts_in(scan, "near_text", row, across[0], f"{ratio:.0f} % the words of")


def _texts_in(scan: Scan, kind: str, row: int, other: int, what: str) -> Iterator[tuple[int, Finding]]:
    """A finding about the later of two rows: a near leak where they are in different manifests."""
    row, other = max(row, other), min(row, other)
    mine, theirs = scan.rows[row], scan.rows[other]
    if mine.content == theirs.content or row == other:
        return
    kind = kind if mine.split == theirs.split else "near_leak"
    yield row, _finding(kind, mine, detail=f"{what} {_place(theirs)}")


def _finding(kind: str, row: Row, field: str = "", detail: str = "") -> Finding:
    return Finding(kind, row.split, row.line, row.id, field, detail)


def _place(row: Row) -> str:
    return f"{row.split}:{row.line}"
