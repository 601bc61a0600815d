"""A recording is known again in another format, rate and loudness; other words by the same voice are another one."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter, resample_poly

from data.inspection.prints.sound_prints import MAX_ERRORS, SoundPrint, same_recordings, sound_print
from data.synthesisers.base import ClipSpec
from data.synthesisers.espeak import EspeakVoices
from tests.data.inspection.made import speech

Changed = tuple[np.ndarray, int]
SENTENCES = (
    "what color is the circle?",
    "what color is the triangle?",
    "is there a blue circle in the image?",
    "is there a grey circle in the image?",
    "waving hand: light skin tone",
    "waving hand: dark skin tone",
    "the cat sat on the mat near the old wooden door",
    "the cat sat on the hat near the old wooden door",
    "twenty two",
    "twenty four",
)
RATE = 22_050


@cache
def spoken(voice: str = "en-us+f2") -> list[np.ndarray]:
    """The sentences by one voice of espeak-ng, spoken alike: those that share words share their sound."""
    pytest.importorskip("espeakng_loader")
    engine = EspeakVoices()
    settings = {"rate": 160, "pitch": 50, "pitch_range": 50}
    clips = [engine.say(ClipSpec(text, "espeak", voice, settings)) for text in SENTENCES]
    assert {rate for _, rate in clips} == {RATE}
    return [samples for samples, _ in clips]


def encoded(samples: np.ndarray, form: str, subtype: str) -> Changed:
    file = io.BytesIO()
    rate = 24_000 if subtype == "OPUS" else RATE
    soundfile.write(file, resample_poly(samples, rate, RATE), rate, format=form, subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="float32")


def noisy(samples: np.ndarray, decibels: float) -> Changed:
    noise = np.random.default_rng(0).standard_normal(len(samples)) * samples.std() * 10 ** (-decibels / 20)
    return (samples + noise).astype(np.float32), RATE


CHANGES: dict[str, Callable[[np.ndarray], Changed]] = {
    "a tenth as loud": lambda x: (0.1 * x, RATE),
    "1.6 times as loud": lambda x: (1.6 * x, RATE),
    "upside down": lambda x: (-x, RATE),
    "with noise at 35 dB": lambda x: noisy(x, 35),
    "16 kHz": lambda x: (resample_poly(x, 320, 441).astype(np.float32), 16_000),
    "8 kHz": lambda x: (resample_poly(x, 160, 441).astype(np.float32), 8_000),
    "44.1 kHz": lambda x: (resample_poly(x, 2, 1).astype(np.float32), 44_100),
    "Ogg Vorbis": lambda x: encoded(x, "OGG", "VORBIS"),
    "Ogg Opus": lambda x: encoded(x, "OGG", "OPUS"),
    "MP3": lambda x: encoded(x, "MP3", "MPEG_LAYER_III"),
    "u-law": lambda x: encoded(x, "WAV", "ULAW"),
    "a tenth cut off at both ends": lambda x: (x[len(x) // 10 : -len(x) // 10], RATE),
    "after a moment of silence": lambda x: (np.concatenate([np.zeros(2500, np.float32), x]), RATE),
    "by another microphone": lambda x: (lfilter([1, -0.7], [1], x).astype(np.float32), RATE),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("voice", ["en-us+f2", "en-gb-scotland+robert"])
def test_a_changed_recording_is_known_again_and_nothing_else(voice: str, change: str) -> None:
    """Neither the sentences nor their changed copies are taken for another sentence by the same voice."""
    clips, count = spoken(voice), len(SENTENCES)
    changed = [sound_print(*CHANGES[change](clip)) for clip in clips]
    found = same_recordings([sound_print(clip, RATE) for clip in clips] + changed)
    assert {(first, second) for first, second, _ in found} == {(place, place + count) for place in range(count)}
    assert all(0 <= errors <= MAX_ERRORS for _, _, errors in found)


def test_another_voice_with_the_same_words_is_another_recording() -> None:
    clips = [*spoken(), *spoken("en-gb-scotland+robert"), *spoken("en-us+m1")]
    assert same_recordings([sound_print(clip, RATE) for clip in clips]) == []


def test_another_part_of_a_recording_is_another_recording() -> None:
    clip = spoken()[6]
    half = len(clip) // 2
    assert same_recordings([sound_print(part, RATE) for part in (clip[:half], clip[half:])]) == []
    assert same_recordings([sound_print(part, RATE) for part in (clip, clip[: len(clip) // 3])]) == []


def test_silence_and_short_sounds_are_like_nothing() -> None:
    quiet = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 1e-6
    sounds = [np.zeros(0), np.zeros(3), np.zeros(RATE), np.zeros(RATE), quiet, speech("a")[:1500]]
    assert same_recordings([sound_print(sound.astype(np.float32), RATE) for sound in sounds]) == []
    assert same_recordings([]) == []


@pytest.mark.parametrize("rate", [1, 7, 2000, 11_127, 96_001, 768_000])
def test_every_rate_has_a_print_of_bounded_size(rate: int) -> None:
    samples = np.random.default_rng(0).standard_normal(rate).astype(np.float32)
    found = sound_print(samples, rate)
    assert isinstance(found, SoundPrint)
    assert len(found.codes) == len(found.loud) < 70


def test_of_a_long_sound_the_beginning_is_compared() -> None:
    long = np.random.default_rng(0).standard_normal(130 * 8000).astype(np.float32)
    assert (sound_print(long, 8000).codes == sound_print(long[: 120 * 8000], 8000).codes).all()
