"""Pictures and sounds for the tests: no two of different seeds are alike, and one voice says many words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

RATE = 16_000
PITCH_HZ, SYLLABLE_SECONDS = 120, 0.16
# Vowels by their first two formants, in Hz.
VOWELS = {
    "a": (730, 1090),
    "e": (530, 1840),
    "i": (270, 2290),
    "o": (570, 840),
    "u": (300, 870),
    "y": (390, 1990),
    "w": (660, 1720),
    "v": (490, 1350),
}


def picture(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Smooth patches of colour, as in a photograph out of focus."""
    patches = np.random.default_rng(seed).integers(0, 256, (7, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def speech(vowels: str, pitch: float = PITCH_HZ) -> np.ndarray:
    """One synthetic voice that says these vowels, gliding from one to the next, float32 [samples]."""
    count = int(SYLLABLE_SECONDS * RATE) * len(vowels)
    time, place = np.arange(count) / RATE, np.linspace(0, len(vowels), count, endpoint=False)
    melody = pitch * (1.1 - 0.2 * place / len(vowels) + 0.05 * np.sin(7 * time))
    phase = 2 * np.pi * np.cumsum(melody) / RATE
    formants = [np.interp(place, np.arange(len(vowels)) + 0.5, [VOWELS[v][n] for v in vowels]) for n in (0, 1)]
    said = np.zeros(count)
    for harmonic in range(1, int(3600 / pitch)):
        strength = sum(1 / (1 + ((harmonic * melody - formant) / 90) ** 2) for formant in (*formants, 2700))
        said += strength * np.sin(harmonic * phase)
    said *= 0.3 + 0.7 * np.sin(np.pi * (place % 1)) ** 2
    said += 0.01 * said.std() * np.random.default_rng(len(vowels)).standard_normal(count)  # breath
    return (0.6 * said / np.abs(said).max()).astype(np.float32)


def sentence(seed: int, length: int = 10) -> str:
    """Vowels to say, drawn with a seed."""
    return "".join(np.random.default_rng(seed).choice(list(VOWELS), length))


def save_sound(path: Path, samples: np.ndarray, rate: int = RATE, **options: Any) -> str:
    """Writes a sound; returns the file's name."""
    soundfile.write(path, samples, rate, **options)
    return path.name


def save_picture(path: Path, image: Image.Image, **options: Any) -> str:
    """Writes a picture; returns the file's name."""
    image.save(path, **options)
    return path.name


def segment(kind: str, value: str) -> dict[str, str]:
    """A segment of text, or of a medium by its path."""
    return {"type": kind, "text" if kind == "text" else "path": value}


def asked(id: str, answer: str | None, *content: dict[str, str], **fields: Any) -> dict[str, Any]:
    """A row that asks once."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": list(content)}]
    messages += [] if answer is None else [{"role": "assistant", "content": [segment("text", answer)]}]
    return {"id": id, "messages": messages, **fields}


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    """A manifest of rows; one that is text is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path
