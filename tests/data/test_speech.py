"""Voices of the splits are disjoint; clips say what they should, in the voice that they should, and are kept."""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from data import speech
from data.audio import LogMel
from data.speech import ACCENTS, SPLITS, ClipSpec, Espeak, cache_folder, render, speech_bank, variants
from data.types import BadInputError

pytest.importorskip("espeakng_loader")

SENTENCES = ("is there a circle?", "what color is the shape?")


def spec(text: str = SENTENCES[1], voice: str = "en-us+f2", rate: int = 170, pitch: int = 50) -> ClipSpec:
    return ClipSpec(text, voice, rate, pitch, 50)


@pytest.fixture
def few_voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two voices in each split, and a cache of one's own."""
    monkeypatch.setenv("INTERFUSE_CACHE", str(tmp_path))
    monkeypatch.setattr(speech, "variants", lambda split: variants(split)[:2])
    return tmp_path


def test_every_variant_is_in_exactly_one_split() -> None:
    names = [name for split in SPLITS for name in variants(split)]
    assert len(names) == len(set(names)) >= 100
    assert (len(variants("test")), len(variants("validation"))) == (16, 12)
    assert variants("test") == variants("test")
    with pytest.raises(ValueError, match="split='dev' must be one of train, validation, test"):
        variants("dev")


def test_relatives_are_in_the_same_split() -> None:
    split_of = {name: split for split in SPLITS for name in variants(split)}
    for family in (("Gene", "Gene2"), ("iven", "iven2", "iven3", "iven4"), ("klatt", "klatt4"), ("edward", "edward2")):
        assert len({split_of[name] for name in family}) == 1, family
    # The test is not a test of relatives of one voice only.
    assert len({name.rstrip("0123456789").lower() for name in variants("test")}) >= 8


def test_a_clip_is_sound_of_the_expected_length() -> None:
    samples = render(spec())
    assert samples.dtype == np.int16
    assert 0.5 < len(samples) / speech.SAMPLE_RATE < 4
    assert np.abs(samples).max() > 3000


def test_rate_and_text_change_the_length_and_pitch_the_pitch() -> None:
    assert len(render(spec(rate=130))) > 1.3 * len(render(spec(rate=220)))
    assert len(render(spec(SENTENCES[1]))) > len(render(spec("red")))
    features = LogMel(speech.SAMPLE_RATE, 40, 400, 160)
    low, high = (render(spec(pitch=pitch)) for pitch in (5, 95))
    lowest = [features(torch.from_numpy(clip / 32768).float())[:, :4].mean().item() for clip in (low, high)]
    assert lowest[0] > lowest[1] + 0.5


@pytest.mark.parametrize("accent", ACCENTS)
def test_every_accent_speaks(accent: str) -> None:
    assert len(render(spec(voice=f"{accent}+m3"))) > 8000


@pytest.mark.parametrize("voice", ["en-gb+m3", "xx", "en-us+nobody"])
def test_a_voice_that_does_not_exist_is_an_error(voice: str) -> None:
    with pytest.raises(BadInputError, match=rf"no voice '{voice}'".replace("+", r"\+")):
        render(spec(voice=voice))


def test_a_bank_holds_every_sentence_by_every_voice(few_voices: Path) -> None:
    bank = speech_bank([*SENTENCES, SENTENCES[0]], "train", clips_per_voice=2)
    said = Counter((clip.text, clip.voice.partition("+")[2]) for clip in bank.specs)
    assert said == {(text, variant): 2 for text in SENTENCES for variant in variants("train")[:2]}
    assert len(bank.store) == len(bank.specs) == 8
    assert bank.store.metadata["sample_rate"] == 16_000
    for index, clip in enumerate(bank.specs):
        assert clip.voice.partition("+")[0] in ACCENTS
        # The engine's noise differs between calls, the length hardly.
        assert abs(len(bank.store[index]) - len(render(clip))) < 800


def test_drawing_finds_the_sentence_repeats_and_varies(few_voices: Path) -> None:
    bank = speech_bank(SENTENCES, "test", clips_per_voice=2)
    for text in SENTENCES:
        drawn = [bank.draw(text, np.random.default_rng(seed)) for seed in range(20)]
        assert all(clip_spec.text == text and bank.specs[clip.index] == clip_spec for clip, clip_spec in drawn)
        assert len({clip.index for clip, _ in drawn}) == 4
        assert bank.draw(text, np.random.default_rng(3))[0].index == drawn[3][0].index
    with pytest.raises(KeyError):
        bank.draw("never said", np.random.default_rng(0))


def test_a_bank_is_rendered_once_for_what_it_holds(few_voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = speech_bank(SENTENCES, "test", 1)
    assert speech_bank(SENTENCES, "validation", 1).store.folder != first.store.folder
    monkeypatch.setattr(speech, "render", lambda _: pytest.fail("rendered again"))
    again = speech_bank(reversed(SENTENCES), "test", 1)
    assert again.specs == first.specs
    for index in range(len(first.specs)):
        assert np.array_equal(again.store[index], first.store[index])


def test_the_number_of_threads_is_left_as_it_was(few_voices: Path) -> None:
    before = torch.get_num_threads()
    speech_bank(SENTENCES[:1], "test", 1)
    assert torch.get_num_threads() == before


def test_without_the_extra_the_install_command_is_named(few_voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    variants.cache_clear()
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(BadInputError, match=r"pip install 'interfuse\[speech\]'"):
        speech_bank(SENTENCES, "train", 1)


def test_a_library_that_cannot_be_loaded_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError("wrong architecture")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    with pytest.raises(BadInputError, match=r"espeak-ng cannot be loaded \(wrong architecture\)"):
        Espeak()


def test_a_long_path_to_the_voices_is_made_short(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    (deep / "file").write_text("here")
    short = speech._short(deep)
    assert len(str(short)) < 150
    assert short.name == deep.name
    assert (short / "file").read_text() == "here"
    assert speech._short(tmp_path) == tmp_path


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERFUSE_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("INTERFUSE_CACHE")
    assert cache_folder() == Path("/b/interfuse")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "interfuse"
