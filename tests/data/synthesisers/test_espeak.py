"""Variants of the splits are disjoint, and clips say what they should, in the voice that they should."""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from data.media import speech
from data.media.audio import LogMel
from data.media.speech import render, speech_bank
from data.synthesisers import espeak
from data.synthesisers.base import SPLITS, ClipSpec
from data.synthesisers.espeak import ACCENTS, Espeak, variants
from data.types import BadInputError, NotInstalledError

pytest.importorskip("espeakng_loader")

SENTENCES = ("is there a circle?", "what color is the shape?")


def spec(text: str = SENTENCES[1], voice: str = "en-us+f2", rate: int = 170, pitch: int = 50) -> ClipSpec:
    return ClipSpec(text, "espeak", voice, {"rate": rate, "pitch": pitch, "pitch_range": 50})


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


def test_variants_with_the_same_formants_are_relatives_whatever_they_are_called() -> None:
    folder = espeak._voices_folder() / "!v"
    split_of = {name: split for split in SPLITS for name in variants(split)}
    by_formants: dict[tuple[str, ...], list[str]] = {}
    for name in split_of:
        lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        by_formants.setdefault(tuple(sorted(line for line in lines if line.startswith("formant"))), []).append(name)
    alike = [names for names in by_formants.values() if len({name.rstrip("0123456789").lower() for name in names}) > 1]
    assert alike, "no two names share formants, so this test shows nothing"
    for names in alike:
        assert len({split_of[name] for name in names}) == 1, names


def test_a_clip_is_sound_of_the_expected_length() -> None:
    samples = render(spec())
    assert samples.dtype == np.int16
    assert 0.5 < len(samples) / speech.SAMPLE_RATE < 4
    assert np.abs(samples).max() > 3000


@pytest.mark.parametrize("voice", ["en-us+f2", "en-gb-scotland+robert", "en-us+m1", "en-us+whisper", "en-us+klatt2"])
def test_a_clip_is_the_same_bit_for_bit_whatever_was_said_before(voice: str) -> None:
    first = render(spec(voice=voice))
    render(spec("twenty four", voice="en-us+m5"))
    assert np.array_equal(render(spec(voice=voice)), first)
    program = (
        "from tests.data.synthesisers.test_espeak import *; print(hashlib.sha256(render(spec(voice={!r}))).hexdigest())"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program.format(voice)], capture_output=True, text=True, check=True
    )
    assert elsewhere.stdout.strip() == hashlib.sha256(first).hexdigest()


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


def test_without_the_extra_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    variants.cache_clear()
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(NotInstalledError, match=r"pip install 'interfuse\[speech\]'"):
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
    short = espeak._short(deep)
    assert len(str(short)) < 150
    assert short.name == deep.name
    assert (short / "file").read_text() == "here"
    assert espeak._short(tmp_path) == tmp_path
