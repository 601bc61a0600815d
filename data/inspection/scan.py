"""Reads manifests once, row by row, and keeps what later steps compare: numbers for contents, never the media."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.bad_samples import reading
from data.batching.content import content_key
from data.batching.interleave import call_json
from data.inspection.facts import Facts, read_facts, why
from data.inspection.findings import Finding
from data.inspection.measures import Measures, Turn
from data.inspection.prints.text_prints import MAX_LETTERS, plain, text_print
from data.progress import with_progress
from data.sources.fields import ROW
from data.sources.manifest import ManifestSource
from data.sources.messages import named_segments
from data.types import AlignedSample, BadSampleError, Media, Message, Sample, Segment, Text

# A text that stands with media is compared if it has so many words: shorter ones are labels, which many rows share.
SENTENCE_WORDS = 5


class Row(NamedTuple):
    """A row's place, and numbers that equal rows share: for all that it holds, and for what its answer is given to."""

    split: str
    line: int
    id: str
    content: int
    prompt: int | None


class Use(NamedTuple):
    """Where a medium is used: number of the row, field, number of the content, and the file it is read from, if any."""

    row: int
    field: str
    content: int
    file: str | None


@dataclass
class Scan:
    """All manifests, in the order that they were given in.

    contents: facts of every distinct medium, by the order of their first use. texts: distinct texts that are compared,
    as `plain` gives them, with their prints; text_uses: number of the row and of its text.
    """

    paths: dict[str, Path]
    measures: dict[str, Measures] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    contents: list[Facts] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    text_prints: list[np.ndarray] = field(default_factory=list)
    text_uses: list[tuple[int, int]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def scan(paths: Mapping[str, Path]) -> Scan:
    """Reads every row of the manifests and every medium once. Raises `BadInputError` for a manifest without rows."""
    reader = _Reader(Scan(dict(paths)))
    for split, path in paths.items():
        reader.read(split, path)
    return reader.scan


def read_rows(path: Path) -> Iterator[tuple[int, bytes, Sample | AlignedSample | BadSampleError]]:
    """The rows of a manifest as `ManifestSource.rows` gives them, with a bar."""
    source = ManifestSource(path, on_bad_sample="skip")
    rows = source.rows()
    for _ in with_progress(range(len(source)), f"reading {path.name}"):
        yield next(rows)


class _Reader:
    def __init__(self, empty: Scan) -> None:
        self.scan = empty
        self._media = MediaReader()
        self._places: dict[int, int] = {}  # key of a content -> its place in scan.contents
        self._texts: dict[int, int] = {}

    def read(self, split: str, path: Path) -> None:
        measures = self.scan.measures[split] = Measures()
        for line_number, line, sample in read_rows(path):
            measures.num_rows += 1
            if isinstance(sample, BadSampleError):
                reason = str(sample).removeprefix(f"{path}:{line_number}: ")
                self.scan.findings.append(Finding("bad_row", split, line_number, detail=reason))
                continue
            measures.add_keys(key for key in json.loads(line.decode("utf-8-sig")) if key not in ROW.fields)
            self._add(split, line_number, sample, measures)

    def _add(self, split: str, line: int, sample: Sample | AlignedSample, measures: Measures) -> None:
        number = len(self.scan.rows)
        keys = [
            self._segment(Finding("", split, line, sample.id, name), segment)
            for name, segment in named_segments(sample)
        ]
        content, prompt = row_keys(sample, keys)
        self.scan.rows.append(Row(split, line, sample.id, content, prompt))
        measures.add_sample(sample)
        for text in compared_texts(sample):
            self._add_text(number, text)
        for turn in turns(sample):
            if (kind := measures.add_turn(turn)) is not None:
                self.scan.findings.append(Finding(kind, split, line, sample.id, turn.field, turn.answer or ""))

    def _segment(self, place: Finding, segment: Segment) -> str:
        """What a segment of the row that is being read is in the key of this row."""
        if not isinstance(segment, Media):
            return segment_key(segment)
        file = self._shown(place.split, segment.source) if isinstance(segment.source, Path) else None
        try:
            key, facts = self._media.read(segment)
        except BadSampleError as error:
            # Of any text, a path of a thousand letters too, and without errors.
            missing = isinstance(segment.source, Path) and not os.path.exists(segment.source)  # noqa: PTH110
            kind = "missing_file" if missing else "unreadable_file"
            detail = str(file) if missing else f"{file or 'data'}: {why(error, segment)}"
            self.scan.findings.append(replace(place, kind=kind, detail=detail))
            return segment_key(segment)
        if key not in self._places:
            self._places[key] = len(self.scan.contents)
            self.scan.contents.append(facts)
        self.scan.uses.append(Use(len(self.scan.rows), place.field, self._places[key], file))
        self.scan.measures[place.split].add_medium(self._places[key], facts)
        return segment_key(segment, key)

    def _shown(self, split: str, file: Path) -> str:
        """A file, from the manifest's folder where it is inside."""
        folder = self.scan.paths[split].parent
        return str(file.relative_to(folder) if file.is_relative_to(folder) else file)

    def _add_text(self, row: int, text: str) -> None:
        words = plain(text)
        key = content_key(words.encode("utf-8", "surrogatepass"))
        if key not in self._texts:
            self._texts[key] = len(self.scan.texts)
            self.scan.texts.append(words[:MAX_LETTERS])
            self.scan.text_prints.append(text_print(words))
        self.scan.text_uses.append((row, self._texts[key]))


class MediaReader:
    """Facts of media; a file that several rows name is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[int, Facts] | BadSampleError] = {}

    def read(self, media: Media) -> tuple[int, Facts]:
        """As `read_facts`; whatever reading raises is a `BadSampleError`."""
        file = _file(media)
        if file is None:
            return _read(media)
        place = (media.modality, file)
        if place not in self._known:
            try:
                self._known[place] = _read(media)
            except BadSampleError as error:
                self._known[place] = error
        found = self._known[place]
        if isinstance(found, BadSampleError):
            raise found
        return found


def _read(media: Media) -> tuple[int, Facts]:
    with reading(media.name):
        return read_facts(media)


def _file(media: Media) -> str | None:
    return str(media.source) if isinstance(media.source, Path) else None


def segment_key(segment: Segment, content: int | None = None) -> str:
    """What a segment holds, in the key of its row; a medium that cannot be read is known by its file or bytes."""
    if isinstance(segment, Text):
        return f"text {segment.text}"
    if not isinstance(segment, Media):
        return f"absent {segment.modality}"
    if content is not None:
        return f"{segment.modality} {content}"
    source = segment.source
    place = source if isinstance(source, Path) else content_key(source) if isinstance(source, bytes) else source
    return f"{segment.modality} unread {place}"


def row_keys(sample: Sample | AlignedSample, segment_keys: Iterable[str]) -> tuple[int, int | None]:
    """Numbers of a row's content, and of what its last answer is given to (None without an answer)."""
    keys = iter(segment_keys)
    if isinstance(sample, AlignedSample):
        return _key(["aligned", *keys]), None
    parts = [[json.dumps(list(map(dict, sample.tools)), sort_keys=True)]]
    for message in sample.messages:
        parts.append([message.role, *(next(keys) for _ in message.content), *map(call_json, message.tool_calls)])
    answered = sample.messages[-1].role == "assistant" and len(sample.messages) > 1
    return _key(parts), _key(parts[:-1]) if answered else None


def _key(value: object) -> int:
    return content_key(json.dumps(value).encode())


def turns(sample: Sample | AlignedSample) -> Iterator[Turn]:
    """The answers of a conversation, each with the words of what was asked last."""
    if isinstance(sample, AlignedSample):
        return
    question: str | None = None
    for place, message in enumerate(sample.messages):
        is_last = place == len(sample.messages) - 1
        if message.role == "assistant":
            spoken = sample.metadata.get("question") if is_last else None
            yield Turn(f"messages[{place}]", _words(message), spoken or question, bool(message.tool_calls))
            continue
        if message.role == "user":
            question = _words(message) or None
        if is_last:
            yield Turn(f"messages[{place}]", None, question, calls=False)


def compared_texts(sample: Sample | AlignedSample) -> list[str]:
    """The texts of a row that are compared with those of others.

    All of a row without media, as one; else each caption of an aligned row, or the last answer, if it is a sentence.
    """
    found = [segment for _, segment in named_segments(sample)]
    if not any(isinstance(segment, Media) for segment in found):
        whole = "\n".join(segment.text for segment in found if isinstance(segment, Text))
        return [whole] if whole.strip() else []
    if isinstance(sample, AlignedSample):
        texts = [segment.text for segment in found if isinstance(segment, Text)]
    else:
        texts = [_words(sample.messages[-1])] if sample.messages[-1].role == "assistant" else []
    return [text for text in dict.fromkeys(texts) if len(text.split()) >= SENTENCE_WORDS]


def _words(message: Message) -> str:
    return " ".join(segment.text for segment in message.content if isinstance(segment, Text)).strip()
