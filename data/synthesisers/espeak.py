"""espeak-ng, a formant synthesiser: intelligible, clearly artificial, and in many voices.

A voice is an accent of English ("en-us") with a variant, which changes pitch, timbre and the shape of the vocal tract
("f2"). Variants are split into training, validation and test by families of relatives; accents are shared. So nobody
who asks in an evaluation was heard in training, and no near copy was. A clip is the same bit for bit wherever and after
whatever it is rendered: the library keeps the state of its oscillators and of its random numbers from one clip to the
next, so each clip gets a library that was just loaded (3.5 ms) and a fixed seed.
"""

from __future__ import annotations

import _ctypes
import atexit
import ctypes
import os
import shutil
import sys
import tempfile
import threading
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from data.synthesisers.base import SPLITS, ClipSpec, Synthesiser, check_split
from data.types import BadInputError, NotInstalledError

ACCENTS = ("en-us", "en-us-nyc", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
# Rate (words a minute), pitch and pitch range (espeak's 0 to 99) of a clip are drawn from these ranges.
RATES, PITCHES, PITCH_RANGES = (130, 220), (20, 80), (30, 80)
NUM_TEST_VARIANTS, NUM_VALIDATION_VARIANTS, LARGEST_HELD_OUT_FAMILY = 16, 12, 4
MAX_PATH_BYTES = 150
_ONE_AT_A_TIME = threading.Lock()
INSTALL = "speech of espeak-ng needs its package: pip install 'interfuse[speech]'"


class EspeakVoices(Synthesiser):
    """espeak-ng (GPL-3), through the package `espeakng-loader`: some hundred variants in several accents."""

    family = "espeak"
    edition = 2

    def check_installed(self) -> None:
        """Whether its voices are there."""
        _voices_folder()

    def voices(self, split: str) -> list[str]:
        """Variants (see `variants`)."""
        return variants(split)

    def draw(self, text: str, voice: str, rng: np.random.Generator) -> ClipSpec:
        """An accent for this variant, rate, pitch and pitch range."""
        accent = ACCENTS[rng.integers(len(ACCENTS))]
        rate, pitch, pitch_range = (int(rng.integers(*bounds)) for bounds in (RATES, PITCHES, PITCH_RANGES))
        settings = {"rate": rate, "pitch": pitch, "pitch_range": pitch_range}
        return ClipSpec(text, self.family, f"{accent}+{voice}", settings)

    def say(self, spec: ClipSpec) -> tuple[np.ndarray, int]:
        """Samples at the engine's rate, 22,050 Hz."""
        with _ONE_AT_A_TIME, closing(Espeak()) as engine:
            return engine.say(spec).astype(np.float32) / 32768, engine.sample_rate


@lru_cache(maxsize=3)
def variants(split: str) -> list[str]:
    """The voice variants of a split; relatives are never in two of them.

    Families are dealt out in a fixed random order until test and validation have their numbers; the few families of
    more than four train.
    """
    check_split(split)
    families = _families()
    dealt: dict[str, list[str]] = {name: [] for name in SPLITS}
    for place in np.random.default_rng(0).permutation(len(families)):
        family = families[place]
        fits = [
            name
            for name, size in (("test", NUM_TEST_VARIANTS), ("validation", NUM_VALIDATION_VARIANTS))
            if len(family) <= LARGEST_HELD_OUT_FAMILY and len(dealt[name]) + len(family) <= size
        ]
        dealt[fits[0] if fits else "train"] += family
    return dealt[split]


def _families() -> list[list[str]]:
    """Variants in groups of relatives: the same name but for digits and capitals, or the same formants."""
    families: list[tuple[set[str], list[str]]] = []
    for name in _variant_names():
        lines = (_voices_folder() / "!v" / name).read_text(encoding="utf-8", errors="replace").splitlines()
        formants = " ".join(sorted(line for line in lines if line.startswith("formant")))
        marks, members = {name.rstrip("0123456789").lower(), f"formants {formants}"}, [name]
        for relatives in [family for family in families if family[0] & marks]:
            families.remove(relatives)
            marks, members = marks | relatives[0], relatives[1] + members
        families.append((marks, members))
    return [members for _, members in families]


@lru_cache(maxsize=1)
def _variant_names() -> tuple[str, ...]:
    return tuple(sorted(path.name for path in (_voices_folder() / "!v").iterdir()))


def _voices_folder() -> Path:
    try:
        import espeakng_loader
    except ImportError as error:
        raise NotInstalledError(INSTALL) from error
    return Path(espeakng_loader.get_data_path()) / "voices"


@lru_cache(maxsize=4)
def _short(folder: Path) -> Path:
    """A path to `folder` that fits the buffer of 160 bytes into which espeak-ng copies it."""
    if len(os.fsencode(folder)) <= MAX_PATH_BYTES:
        return folder
    link = Path(tempfile.mkdtemp(prefix="espeak-")) / folder.name
    link.symlink_to(folder)
    atexit.register(shutil.rmtree, link.parent, ignore_errors=True)
    return link


class Espeak:
    """The espeak-ng library through ctypes (its speak_lib.h). Its state is global: one at a time, which is closed."""

    RETRIEVAL, NO_EXIT, UTF8 = 2, 0x8000, 1
    RATE, PITCH, RANGE = 1, 3, 4
    SEED = 1

    def __init__(self) -> None:
        data = _short(_voices_folder().parent)
        import espeakng_loader

        try:
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise BadInputError(f"espeak-ng cannot be loaded ({error}); {INSTALL}") from error
        size, number, pointer = ctypes.c_size_t, ctypes.c_uint, ctypes.c_void_p
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p, size, number, ctypes.c_int, number, number, pointer, pointer
        ]  # fmt: skip
        # Synchronous: no sound device, and the callback runs inside espeak_Synth.
        self.sample_rate = self._library.espeak_Initialize(self.RETRIEVAL, 0, os.fsencode(data), self.NO_EXIT)
        if self.sample_rate <= 0:
            raise BadInputError(f"espeak-ng does not start with the voices in {data}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(self.SEED))
        self._variants = frozenset(_variant_names())
        self._parts: list[np.ndarray] = []
        signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = signature(self._receive)  # the library keeps only a pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, spec: ClipSpec) -> np.ndarray:
        """Samples of `spec.text`, int16 at `sample_rate`. Raises `BadInputError` for a voice that does not exist."""
        _, _, variant = spec.voice.partition("+")
        # With a variant that it does not know, the library speaks in the accent's own voice without a word.
        known = not variant or variant in self._variants
        if not known or self._library.espeak_SetVoiceByName(spec.voice.encode()) != 0:
            raise BadInputError(f"espeak-ng has no voice {spec.voice!r}")
        for parameter, name in ((self.RATE, "rate"), (self.PITCH, "pitch"), (self.RANGE, "pitch_range")):
            self._library.espeak_SetParameter(parameter, int(spec.settings[name]), 0)
        text = spec.text.encode() + b"\0"
        self._parts = []
        status = self._library.espeak_Synth(text, len(text), 0, 0, 0, self.UTF8, None, None)
        if status != 0 or not self._parts:
            raise BadInputError(f"espeak-ng cannot say {spec.text!r} with voice {spec.voice!r} (status {status})")
        return np.concatenate(self._parts)

    def close(self) -> None:
        """Unloads the library with all that it remembers (not on Windows)."""
        self._library.espeak_Terminate()
        if sys.platform != "win32":
            _ctypes.dlclose(self._library._handle)

    def _receive(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0
