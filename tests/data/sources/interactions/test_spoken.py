"""Recordings of people in place of synthetic voices: speakers stay apart, and a wrong row is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.media.audio import read_audio
from data.sources.interactions.questions import InteractionQuestions, Interactions
from data.sources.interactions.spoken import RecordedVoices, Recording, read_recordings, speaker_splits
from data.types import BadInputError, Media

Row = dict[str, Any]


def rows(speakers: int = 5, **fields: Any) -> list[Row]:
    return [
        {"audio": f"{digit}.wav", "digit": digit, "speaker": f"speaker {number}", **fields}
        for number in range(speakers)
        for digit in range(10)
    ]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[list[Any]], Path]:
    """Writes a manifest next to one short file of sound for each digit, as loud as the digit says."""
    for digit in range(10):
        soundfile.write(tmp_path / f"{digit}.wav", np.full(800, (digit + 1) / 20, np.float32), 8000)

    def write(found: list[Any]) -> Path:
        path = tmp_path / "recordings.jsonl"
        path.write_text("\n".join(item if isinstance(item, str) else json.dumps(item) for item in found) + "\n\n")
        return path

    return write


def test_what_is_heard_is_the_recording_of_the_digit(written: Callable[[list[Any]], Path]) -> None:
    path = written(rows())
    sources = [Interactions("sound", recordings=path), InteractionQuestions("sound", "test", 30, recordings=path)]
    for source in sources:
        for index in range(30):
            sample = source.sample(index, np.random.default_rng(index))
            clip = sample.messages[0].content[1]
            assert isinstance(clip, Media)
            loudness = read_audio(clip, 8000).mean().item()
            assert round(20 * loudness) - 1 == int(sample.metadata["sound"]) == int(sample.messages[1].content[0].text)  # type: ignore[union-attr]


def test_no_speaker_is_in_two_splits(written: Callable[[list[Any]], Path]) -> None:
    path = written(rows(11))
    found = speaker_splits(read_recordings(path), "recordings")
    dealt = {split: [s for s in found if found[s] == split] for split in ("train", "validation", "test")}
    assert {split: len(speakers) for split, speakers in dealt.items()} == {"train": 7, "validation": 2, "test": 2}
    for split, speakers in dealt.items():
        voices = RecordedVoices(path, split)
        drawn = {voices.draw(d % 10, np.random.default_rng(d))[1]["voice"] for d in range(200)}
        assert drawn == set(speakers)
    more = speaker_splits(read_recordings(written([*rows(11), *rows(1, split="test", speaker="new")])), "recordings")
    assert more == found | {"new": "test"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", ":1: not JSON (Expecting property name"),
        ([1], ":1: a row must be an object"),
        ({"audio": "1.wav", "speaker": "a"}, ":1: digit: must be a whole number from 0 to 9, not nothing"),
        ({"audio": "1.wav", "digit": 10, "speaker": "a"}, ":1: digit: must be a whole number from 0 to 9, not 10"),
        ({"audio": "1.wav", "digit": "one", "speaker": "a"}, 'from 0 to 9, not "one"'),
        ({"audio": "1.wav", "digit": True, "speaker": "a"}, "from 0 to 9, not true"),
        ({"audio": "1.wav", "digit": 1}, ":1: speaker: must be text, not nothing"),
        ({"audio": "1.wav", "digit": 1, "speaker": 7}, ":1: speaker: must be text, not 7"),
        ({"digit": 1, "speaker": "a"}, ":1: audio: must be text, not nothing"),
        ({"audio": "gone.wav", "digit": 1, "speaker": "a"}, "gone.wav: file not found"),
        ({"audio": "1.wav", "digit": 1, "speaker": "a", "split": "dev"}, ':1: split: "dev" must be one of train'),
        (
            {"audio": "1.wav", "digit": 1, "spaeker": "a"},
            ":1: spaeker: is no field of a recording; the nearest is speaker",
        ),
    ],
)
def test_a_wrong_row_is_named(row: Any, message: str, written: Callable[[list[Any]], Path]) -> None:
    path = written([row])
    with pytest.raises(BadInputError) as refused:
        Interactions("sum", recordings=path)
    assert str(refused.value).startswith(f"{path}:1: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_manifest_that_no_split_can_be_made_of_is_refused(
    tmp_path: Path, written: Callable[[list[Any]], Path]
) -> None:
    with pytest.raises(BadInputError, match=r"none\.jsonl: file not found"):
        read_recordings(tmp_path / "none.jsonl")
    with pytest.raises(BadInputError, match="holds no rows"):
        read_recordings(written([]))
    with pytest.raises(BadInputError, match="speaker 'speaker 0' has rows of several: test, train"):
        RecordedVoices(written([*rows(split="train"), {**rows()[0], "split": "test"}]), "train")
    with pytest.raises(BadInputError, match="nobody says 3 in split 'train'"):
        RecordedVoices(written([row for row in rows(split="train") if row["digit"] != 3]), "train")
    with pytest.raises(BadInputError, match=r"nobody says 0, 1, .*, 9 in split 'test'"):
        RecordedVoices(written(rows(split="train")), "test")


def test_few_speakers_are_held_out_first() -> None:
    found = [Recording(Path("1.wav"), 1, name, None) for name in "abc"]
    assert sorted(speaker_splits(found, "recordings").values()) == ["test", "train", "validation"]
