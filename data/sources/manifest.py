"""Data of one's own: a JSONL file of samples, one a line, as a source; and any source as such a file.

The rows are described in `data/sources/messages.py`.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from data.bad_samples import reading, reason
from data.progress import with_progress
from data.randomness import generator
from data.sources.base import ALIGNED, MESSAGES, Readable, read_sample
from data.sources.file_format import suffix_of
from data.sources.fingerprint import file_key, spread
from data.sources.held_out import held_out, subject
from data.sources.messages import format_row, parse_row
from data.sources.messages import named_segments as _segments
from data.spelling import spelled
from data.storage.array_store import StoredClip, written_whole
from data.storage.files import file_size, read_file, unreadable
from data.types import (
    AUDIO,
    IMAGE,
    SENTENCE,
    TEXT,
    AlignedSample,
    BadInputError,
    BadSampleError,
    Media,
    Sample,
    Text,
)

MANIFEST = "manifest.jsonl"
# What the text of an aligned row may be read as.
WORDS = (TEXT, SENTENCE)
# For a fingerprint, the media of so many rows are measured, and so many files are read.
MEASURED_ROWS, READ_FILES = 10_000, 256
LONGEST_PATH = 4096
# In place of a row's kind, where it cannot be parsed.
UNREAD = -1


class ManifestSource:
    """The rows of a manifest, read from the file when they are asked for.

    Opening parses every row once, so that a mistake in the last row is found before the first step. With
    on_bad_sample="error" it raises `BadSampleError`. With "skip" a row's error is raised whenever that row is
    read, where the loader counts it. A medium that is missing is found when its row is read, and a corrupt one when
    it is decoded.

    words: what the text of aligned rows is read as: `text`, which the fusion model reads itself (None is the same), or
    the medium `sentence`, for a pretrained encoder of text. Conversations stay as they are.
    hold_out: share of the rows that are left out. only_held_out: the same share; these rows are then all there are
    (see `data.sources.held_out`).
    Raises `BadInputError` when the file is missing or holds no row.
    """

    def __init__(
        self,
        path: str | Path,
        on_bad_sample: str = "error",
        words: str | None = TEXT,
        hold_out: float | None = None,
        only_held_out: float | None = None,
    ) -> None:
        if on_bad_sample not in ("error", "skip"):
            raise ValueError(f"on_bad_sample={on_bad_sample!r} must be one of error, skip")
        words = TEXT if words is None else words
        if words not in WORDS:
            raise ValueError(f"words={words!r} must be one of {', '.join(WORDS)}")
        self.path, self.on_bad_sample, self.words = Path(path).expanduser(), on_bad_sample, words
        share = hold_out if only_held_out is None else only_held_out
        places, subjects = [], []
        self._passed_over: frozenset[int] = frozenset()  # numbers of the lines that belong to the other part
        self.modalities: set[str] = set()  # of the media of all rows that can be parsed
        for line_number, offset, line in self._lines():
            sample = None
            try:
                sample = self._read(line, line_number)
            except BadSampleError:
                if on_bad_sample == "error":
                    raise
            if sample is not None:
                self.modalities |= {media.modality for _, media in named_media(sample)}
            if share is not None:
                subjects.append(subject(sample, line))
            places.append((line_number, offset, UNREAD if sample is None else isinstance(sample, AlignedSample)))
        if not places:
            raise BadInputError(f"{self.path}: holds no rows")
        # Three integers a row, so that a large manifest does not live in the memory of every worker.
        self._places = np.array(places, dtype=np.int64)
        if share is not None:
            out = held_out(subjects, share)
            kept = out if only_held_out is not None else ~out
            self._passed_over = frozenset(self._places[~kept, 0].tolist())
            self._places = self._places[kept]
            if not len(self._places):
                raise BadInputError(f"{self.path}: holds rows about one thing alone, of which none can be held out")

    def __len__(self) -> int:
        return len(self._places)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample | AlignedSample:
        """Row `index`, the same on every call. Raises `BadSampleError` that names row and field."""
        line_number, offset, _ = (int(n) for n in self._places[index])
        with self._open() as file:
            file.seek(offset)
            sample = self._read(file.readline(), line_number)
        for field, media in named_media(sample):
            if isinstance(media.source, Path) and (problem := unreadable(media.source)):
                raise BadSampleError(f"{sample.origin}: {field}.path: {problem}: {media.name}")
        return sample

    def texts(self) -> Iterator[str]:
        """The text of every row that can be parsed."""
        for _, _, sample in self.rows():
            if not isinstance(sample, BadSampleError):  # what to do about it is decided where the row is read
                yield from _texts(sample)

    def rows(self) -> Iterator[tuple[int, bytes, Sample | AlignedSample | BadSampleError]]:
        """Line number, line, and sample of every row, or why it cannot be read; files are not looked for."""
        for line_number, _, line in self._lines():
            try:
                yield line_number, line, self._parse(line, line_number)
            except BadSampleError as error:
                yield line_number, line, error

    def kinds(self) -> Counter[str]:
        """How many rows of each kind there are, "messages" and "aligned", among those that can be parsed."""
        return Counter(ALIGNED if kind else MESSAGES for kind in self._places[:, 2].tolist() if kind != UNREAD)

    def fingerprint(self) -> str:
        """A hash of all rows, of the sizes of their media files, and of the contents of some.

        Of a large manifest the media of 10,000 rows are measured; of many files, 256 are read. Both are spread evenly.
        """
        digest, measured = hashlib.sha256(), set(spread(len(self), MEASURED_ROWS))
        files: dict[Path, None] = {}
        for place, (line_number, _, line) in enumerate(self._lines()):
            digest.update(line.strip() + b"\n")
            if place in measured:
                files |= dict.fromkeys(self._files(line, line_number))
        paths = list(files)
        sizes = [file_size(path) for path in paths]
        read = [file_key(paths[place]) for place in spread(len(paths), READ_FILES)]
        digest.update(json.dumps([sizes, read]).encode())
        return digest.hexdigest()[:16]

    def _files(self, line: bytes, line_number: int) -> list[Path]:
        """The media files of a row; none if it cannot be parsed."""
        try:
            found = [media.source for _, media in named_media(self._parse(line, line_number))]
        except BadSampleError:
            return []
        return [source for source in found if isinstance(source, Path)]

    def _lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Number from 1, offset and bytes of every line that is not blank."""
        offset = 0
        with self._open() as file:
            for line_number, line in enumerate(file, start=1):
                if line.strip() and line_number not in self._passed_over:
                    yield line_number, offset, line
                offset += len(line)

    def _open(self) -> io.BufferedReader:
        name = spelled(str(self.path), LONGEST_PATH)
        try:
            if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
                raise BadInputError(f"{name}: is a pipe or a device, must be a file, which can be read again")
            return self.path.open("rb")
        except BadInputError:
            raise
        except (OSError, ValueError) as error:  # ValueError: a null byte, or a name that the system cannot hold
            raise BadInputError(f"{name}: cannot be read: {reason(error)}") from error

    def _read(self, line: bytes, line_number: int) -> Sample | AlignedSample:
        """A row, with its words as the modality that they are read as."""
        sample = self._parse(line, line_number)
        return _with_sentences(sample) if self.words == SENTENCE and isinstance(sample, AlignedSample) else sample

    def _parse(self, line: bytes, line_number: int) -> Sample | AlignedSample:
        origin = f"{spelled(str(self.path), LONGEST_PATH)}:{line_number}"
        with reading(origin):
            try:
                row = json.loads(line.decode("utf-8-sig").rstrip())
            except UnicodeDecodeError as error:
                raise BadSampleError(f"{origin}: not UTF-8 ({error.reason} at byte {error.start})") from error
            except json.JSONDecodeError as error:
                raise BadSampleError(f"{origin}: not JSON ({error.msg} at column {error.colno})") from error
            except ValueError as error:  # Python reads no whole number of more than 4,300 digits
                raise BadSampleError(f"{origin}: not JSON (a whole number with too many digits)") from error
            return parse_row(row, self.path.parent, spelled(self.path.stem), origin)


def write_manifest(source: Readable, folder: str | Path, max_samples: int | None = None, seed: int = 0) -> Path:
    """Writes a source to `folder/manifest.jsonl` as `write_manifests` does, and returns that path."""
    name = Path(MANIFEST).stem
    return write_manifests({name: source}, folder, max_samples, seed)[0]


def exported(source: Any, folder: str | None, max_samples: int | None, seed: int) -> list[str]:
    """Writes a source, or several by name, as `write_manifests` does; returns lines for a person about it.

    They begin with what the source has to tell (`facts()`), which is all where `folder` is None.
    """
    lines: list[str] = getattr(source, "facts", list)()
    if folder is None:
        return lines
    named = source if isinstance(source, dict) else {"manifest": source}
    return [*lines, *(f"wrote {path}" for path in write_manifests(named, folder, max_samples, seed))]


def write_manifests(
    sources: Mapping[str, Readable], folder: str | Path, max_samples: int | None = None, seed: int = 0
) -> list[Path]:
    """Writes the first samples of each source to `folder/NAME.jsonl`, media next to them; returns the files' paths.

    Images become PNG, sound becomes WAV, other tensors become .npy; files and encoded bytes are copied as they are.
    A file is named by the hash of its content, so that an image with ten questions is stored once, and its suffix says
    what it holds (`data.sources.file_format`). What a source draws (turns, voices) is drawn with `seed`.

    Raises `BadInputError` when `folder` exists or cannot be written, and `BadSampleError` for a sample or a file that
    cannot be read.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise BadInputError(f"{folder}: exists already, and is not overwritten")
    names = [f"{name}.jsonl" for name in sources]
    with written_whole(folder) as temporary:
        (temporary / "media").mkdir()
        for name, source in zip(names, sources.values(), strict=True):
            count = len(source) if max_samples is None else min(max_samples, len(source))
            with (temporary / name).open("w", encoding="utf-8") as file:
                for index in with_progress(range(count), f"writing {folder.name}/{name}"):
                    sample = read_sample(source, index, generator(seed, "export", name, index), Path(name).stem)
                    row = _row(sample, temporary / "media")
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return [folder / name for name in names]


def _with_sentences(sample: AlignedSample) -> AlignedSample:
    """The sample with every text as a medium for a pretrained encoder."""
    segments = (Media(SENTENCE, item.text.encode()) if isinstance(item, Text) else item for item in sample.segments)
    return replace(sample, segments=tuple(segments))


def named_media(sample: Sample | AlignedSample) -> Iterator[tuple[str, Media]]:
    """Every medium with the name of its field in a row, "messages[0].content[1]"."""
    return ((field, segment) for field, segment in _segments(sample) if isinstance(segment, Media))


def _texts(sample: Sample | AlignedSample) -> Iterator[str]:
    yield from (segment.text for _, segment in _segments(sample) if isinstance(segment, Text))
    if isinstance(sample, Sample):
        calls = (call for message in sample.messages for call in message.tool_calls)
        functions = [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]
        for value in (*sample.tools, *functions):
            yield json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _row(sample: Sample | AlignedSample, folder: Path) -> dict[str, Any]:
    """The row of a sample, its media stored in `folder`."""
    try:
        return format_row(sample, lambda media: _store(media, folder))
    except BadSampleError as error:
        raise BadSampleError(f"{sample.name}: {error}") from error


def _store(media: Media, folder: Path) -> str:
    content, suffix = _encoded(media)
    path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
    if not path.exists():
        path.write_bytes(content)
    return f"{folder.name}/{path.name}"


def _encoded(media: Media) -> tuple[bytes, str]:
    """A medium as the bytes of a file, and the file's suffix."""
    source = media.source
    if isinstance(source, Path):
        content = read_file(source)
        return content, suffix_of(content) or source.suffix
    if isinstance(source, bytes):
        return source, suffix_of(source) or (".txt" if media.modality == SENTENCE else ".bin")
    with reading(media.name):
        return _written(media)


def _written(media: Media) -> tuple[bytes, str]:
    """Raw values as the bytes of a file, and its suffix."""
    source, file = media.source, io.BytesIO()
    if media.modality == AUDIO:
        samples, rate = _sound(source)
        # 16-bit samples stay what they are; floats are not rounded.
        soundfile.write(file, samples, rate, "PCM_16" if samples.dtype == np.int16 else "FLOAT", format="WAV")
        return file.getvalue(), ".wav"
    values = (source.read() if isinstance(source, StoredClip) else source).numpy()  # type: ignore[union-attr]
    if media.modality == IMAGE:
        Image.fromarray(np.ascontiguousarray(values.transpose(1, 2, 0))).save(file, "PNG")
        return file.getvalue(), ".png"
    np.save(file, values)
    return file.getvalue(), ".npy"


def _sound(source: Any) -> tuple[np.ndarray, int]:
    """Samples and their rate; a tensor does not say its own, and is taken to have 16 kHz."""
    if isinstance(source, StoredClip):
        return np.asarray(source.store[source.index]), int(source.store.metadata.get("sample_rate", 16_000))
    return source.numpy(), 16_000
