"""Spoken digits: the words zero to nine by synthetic voices, or recordings of people that a manifest names.

    {"audio": "seven_anna_1.wav", "digit": 7, "speaker": "anna", "split": "train"}

is a row of such a manifest: a path relative to it, what is said, who says it, and, if it is given, the split of that
speaker. Speakers without a split are dealt out by a hash of their names: a fifth to the validation, a fifth to the
test, at least one to each. No speaker is in two splits.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.bad_samples import check_text, reading, reason
from data.media.speech import mixed_bank
from data.sources.fields import Level, given
from data.sources.interactions.digits import NUM_DIGITS
from data.spelling import spelled
from data.storage.array_store import StoredClip
from data.storage.files import check_file, read_file
from data.storage.growing_store import GrowingStore, render_clips
from data.synthesisers.base import SPLITS, check_split
from data.types import AUDIO, BadInputError, BadSampleError, Media

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RECORDING = Level("a recording", ("audio", "digit", "speaker", "split"))
HELD_OUT_SHARE = 0.2
# What is said of each clip in the metadata of a sample.
Metadata = Mapping[str, str]


class Voices(Protocol):
    """Who says the digits of one split."""

    stores: Sequence[GrowingStore]

    def draw(self, digit: int, rng: np.random.Generator) -> tuple[Media, Metadata]:
        """One of the clips of a digit."""
        ...


class SyntheticVoices:
    """Voices of the families of synthesisers; see `data.media.speech.mixed_bank` for `clips_per_voice` and `families`.

    Raises as `mixed_bank` does.
    """

    def __init__(self, split: str, clips_per_voice: int, families: Mapping[str, float]) -> None:
        self._bank = mixed_bank(WORDS, split, clips_per_voice, families)
        self.stores: Sequence[GrowingStore] = self._bank.stores

    def draw(self, digit: int, rng: np.random.Generator) -> tuple[Media, Metadata]:
        """As `Voices.draw`; nothing is rendered yet."""
        clip, spec = self._bank.draw(WORDS[digit], rng)
        return Media(AUDIO, clip), {"voice": spec.voice, "synthesiser": spec.family}


@dataclass(frozen=True)
class Recording:
    """One row of a manifest of recordings."""

    path: Path
    digit: int
    speaker: str
    split: str | None


class RecordedVoices:
    """The speakers of a split in a manifest of recordings.

    Raises `BadInputError` for a manifest that cannot be read, a row that is wrong (it names file, row and field), a
    speaker with two splits, and a digit that nobody says in this split.
    """

    stores: Sequence[GrowingStore] = ()

    def __init__(self, path: str | Path, split: str) -> None:
        check_split(split)
        found = read_recordings(Path(path).expanduser())
        splits = speaker_splits(found, str(path))
        by_digit: dict[int, list[Recording]] = defaultdict(list)
        for recording in found:
            if splits[recording.speaker] == split:
                by_digit[recording.digit].append(recording)
        if silent := [str(digit) for digit in range(NUM_DIGITS) if digit not in by_digit]:
            raise BadInputError(
                f"{spelled(str(path))}: nobody says {', '.join(silent)} in split {split!r}; "
                "every split needs recordings of all ten digits"
            )
        self._by_digit = by_digit

    def draw(self, digit: int, rng: np.random.Generator) -> tuple[Media, Metadata]:
        """As `Voices.draw`."""
        found = self._by_digit[digit]
        recording = found[int(rng.integers(len(found)))]
        return Media(AUDIO, recording.path), {"voice": recording.speaker, "synthesiser": "none"}


def read_recordings(path: Path) -> list[Recording]:
    """The rows of a manifest. Raises `BadInputError` as `RecordedVoices` does."""
    try:
        lines = read_file(path).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{spelled(str(path))}: not UTF-8 ({error.reason} at byte {error.start})") from error
    found = [_recording(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise BadInputError(f"{spelled(str(path))}: holds no rows")
    return found


def _recording(line: str, path: Path, number: int) -> Recording:
    where = f"{spelled(str(path))}:{number}"
    with reading(where):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadSampleError(f"{where}: not JSON ({error.msg} at column {error.colno})") from error
        except (ValueError, RecursionError) as error:
            raise BadSampleError(f"{where}: not JSON ({reason(error)})") from error
        if not isinstance(row, dict):
            raise BadSampleError(f"{where}: a row must be an object")
        check_text(row, where)
        row = given(row, RECORDING, f"{where}: ")
        file = path.parent / _text(row, "audio", where)
        digit, split = row.get("digit"), row.get("split")
        if type(digit) is not int or not 0 <= digit < NUM_DIGITS:
            raise BadSampleError(f"{where}: digit: must be a whole number from 0 to 9, not {_shown(digit)}")
        if split is not None and split not in SPLITS:
            raise BadSampleError(f"{where}: split: {_shown(split)} must be one of {', '.join(SPLITS)}")
        try:
            check_file(file)
        except BadSampleError as error:
            raise BadSampleError(f"{where}: audio: {error}") from error
        return Recording(file, digit, _text(row, "speaker", where), split)


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise BadSampleError(f"{where}: {field}: must be text, not {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)[:40]


def speaker_splits(recordings: Sequence[Recording], name: str) -> dict[str, str]:
    """The split of every speaker: the one that the rows give, else one that follows from the speaker's name.

    Raises `BadInputError` for a speaker with rows of two splits.
    """
    told: dict[str, set[str | None]] = defaultdict(set)
    for recording in recordings:
        told[recording.speaker].add(recording.split)
    for speaker, found in told.items():
        if len(found) > 1:
            splits = ", ".join(sorted(str(split or "none") for split in found))
            raise BadInputError(f"{spelled(name)}: split: speaker {spelled(speaker)!r} has rows of several: {splits}")
    given_splits = {speaker: split for speaker, (split,) in told.items() if split is not None}
    others = sorted((speaker for speaker in told if speaker not in given_splits), key=_hash)
    held_out = max(round(HELD_OUT_SHARE * len(others)), 1)
    places = {"validation": others[:held_out], "test": others[held_out : 2 * held_out], "train": others[2 * held_out :]}
    return given_splits | {speaker: split for split, speakers in places.items() for speaker in speakers}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def voices(
    split: str, clips_per_voice: int, families: Mapping[str, float], recordings: str | Path | None = None
) -> Voices:
    """Recorded voices where a manifest is given, else synthetic ones."""
    if recordings is not None:
        return RecordedVoices(recordings, split)
    return SyntheticVoices(split, clips_per_voice, families)


def rendered(media: Sequence[Media]) -> None:
    """Makes the clips that are not there yet: it may take a while, and should not wait for the first batch."""
    render_clips([item.source for item in media if isinstance(item.source, StoredClip)])
