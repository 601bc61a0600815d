"""JSONL manifests: data of one's own as a source, and any source as a manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from rich.progress import track
from torchvision.transforms.v2.functional import to_pil_image

from data.audio import read_audio
from data.image import read_image
from data.messages import sample_from_json, sample_to_json
from data.mixture import Source
from data.types import (
    AUDIO,
    IMAGE,
    AlignedSample,
    BadInputError,
    BadSampleError,
    Media,
    Sample,
    Segment,
    Text,
)

MANIFEST = "manifest.jsonl"


class ManifestSource:
    """The rows of a JSONL manifest (see `data.messages`), with paths relative to the manifest.

    Only the places of the rows are kept in memory. Raises `BadInputError` when the file is missing or empty. A row
    that is not JSON, lacks a field, or names a file that does not exist is a `BadSampleError` when it is read,
    naming file, row and field, so that `data.on_bad_sample` can decide.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise BadInputError(f"{self.path}: cannot be read: {error.strerror}") from error
        self._rows: list[tuple[int, int, int]] = []  # row number, first byte, byte after the last
        start = 0
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            if line.strip():
                self._rows.append((number, start, start + len(line)))
            start += len(line)
        if not self._rows:
            raise BadInputError(f"{self.path}: holds no rows")

    def __len__(self) -> int:
        return len(self._rows)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample | AlignedSample:
        """Row `index`, the same on every call."""
        number, start, stop = self._rows[index]
        origin = f"{self.path}:{number}"
        with self.path.open("rb") as file:
            file.seek(start)
            line = file.read(stop - start)
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadSampleError(f"{origin}: not JSON ({error})") from error
        sample = sample_from_json(row, self.path.parent, origin)
        for field, segment in _media(sample):
            if isinstance(segment.source, Path) and not segment.source.is_file():
                raise BadSampleError(f"{origin}: {field}.path: file not found: {segment.source}")
        return sample

    def texts(self) -> Iterator[str]:
        """All text of the rows that can be read; the others complain when they are trained on."""
        for index in range(len(self)):
            try:
                sample = self.sample(index)
            except BadSampleError:
                continue
            for _, segment in _segments(sample):
                if isinstance(segment, Text):
                    yield segment.text
            if isinstance(sample, Sample):
                yield from (json.dumps(dict(tool), ensure_ascii=False) for tool in sample.tools)
                calls = (call for message in sample.messages for call in message.tool_calls)
                yield from (json.dumps({"name": c.name, "arguments": dict(c.arguments)}) for c in calls)


def write_manifest(
    source: Source, folder: str | Path, max_samples: int | None = None, seed: int = 0, sample_rate: int = 16_000
) -> Path:
    """Writes samples of `source` and their media to `folder`; returns the manifest's path.

    Images become png, sound wav at `sample_rate`, other media a copy of their file. What a source draws at random is
    drawn once, with `seed`. Raises `BadInputError` when `folder` exists.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise BadInputError(f"output={folder} exists and is never overwritten")
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "media").mkdir(parents=True)
    count = min(len(source), max_samples or len(source))
    with (temporary / MANIFEST).open("w", encoding="utf-8") as file:
        for index in track(range(count), f"writing {folder.name}", transient=True):
            sample = source.sample(index, np.random.default_rng([seed, index]))
            paths = {
                id(segment): _write_media(segment, temporary, f"media/{index}-{place}", sample_rate)
                for place, (_, segment) in enumerate(_media(sample))
            }
            file.write(json.dumps(sample_to_json(sample, paths), ensure_ascii=False) + "\n")
    temporary.rename(folder)
    return folder / MANIFEST


def _write_media(media: Media, folder: Path, stem: str, sample_rate: int) -> str:
    """Writes one medium below `folder`; returns its path relative to it."""
    if media.modality == IMAGE:
        name = f"{stem}.png"
        to_pil_image(read_image(media)).save(folder / name)
    elif media.modality == AUDIO:
        name = f"{stem}.wav"
        soundfile.write(folder / name, read_audio(media, sample_rate).numpy(), sample_rate, subtype="PCM_16")
    elif isinstance(media.source, Path):
        name = f"{stem}{media.source.suffix}"
        shutil.copyfile(media.source, folder / name)
    elif isinstance(media.source, bytes):
        name = f"{stem}.bin"
        (folder / name).write_bytes(media.source)
    else:
        raise BadInputError(f"{media.modality} of type {type(media.source).__name__} cannot be written to a file")
    return name


def _segments(sample: Sample | AlignedSample) -> Iterable[tuple[str, Segment]]:
    """Every segment with the name of its field."""
    if isinstance(sample, AlignedSample):
        return [(f"aligned[{i}]", segment) for i, segment in enumerate(sample.segments)]
    return [
        (f"messages[{i}].content[{j}]", segment)
        for i, message in enumerate(sample.messages)
        for j, segment in enumerate(message.content)
    ]


def _media(sample: Sample | AlignedSample) -> list[tuple[str, Media]]:
    return [(field, segment) for field, segment in _segments(sample) if isinstance(segment, Media)]
