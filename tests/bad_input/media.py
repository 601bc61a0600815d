"""Pictures and sounds that are cut, damaged, of odd kinds and sizes, or no pictures and sounds at all."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from tests.bad_input.case import Case
from tests.bad_input.configurations import drawn
from tests.bad_input.small import good_data, training

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")
FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "TGA", "ICO", "AVIF")
SIZES = ((1, 1), (1, 300), (300, 1), (17, 31), (64, 64), (2000, 3), (0, 0))
RATES = (1, 7, 100, 4000, 8000, 11_127, 15_999, 16_000, 44_100, 96_001, 192_000, 768_000, 2_000_000)
LOUDNESS = (0.0, 1e-30, 1.0, 1e10, 1e18, 1e30, float("inf"), float("nan"))
CHANNELS = (1, 2, 3, 6, 17)
SAMPLES = (0, 1, 2, 399, 4000)


def media(rng: np.random.Generator, number: int) -> Iterator[Case]:
    """Pictures and sounds in turn, in a training that stops at bad ones or skips them."""
    for place in range(number):
        name, suffix, content = picture(rng) if place % 2 else sound(rng)
        name, content = damaged(rng, name, content)
        yield with_medium(rng, name, "image" if place % 2 else "audio", suffix, content)


def with_medium(rng: np.random.Generator, name: str, modality: str, suffix: str, content: bytes) -> Case:
    """A manifest of which the second row holds the medium."""
    handling, role = drawn(rng, ("error", "skip")), drawn(rng, ("train", "evaluation", "check"))

    def prepare(folder: Path) -> None:
        path = good_data(folder)
        (path.parent / f"odd{suffix}").write_bytes(content)
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        asked = [{"type": modality, "path": f"odd{suffix}"}, {"type": "text", "text": "what is it?"}]
        answer = {"role": "assistant", "content": [{"type": "text", "text": "red"}]}
        rows[1] = {"id": "odd", "messages": [{"role": "user", "content": asked}, answer]}
        (path.parent / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    good, bad = "good/manifest.jsonl", "good/bad.jsonl"
    options = {
        "train": training(bad, f"data.on_bad_sample={handling}", "data.samples_per_batch=8"),
        "evaluation": training(good, f"data.evaluation={bad}", f"data.on_bad_sample={handling}"),
        "check": [f"check={bad}", "output=checked"],
    }[role]
    script = "prepare_data" if role == "check" else "train"
    return Case(f"{role} ({handling}) {name}", script, lambda folder: options, prepare, ("bad.jsonl:2", "odd"))


def picture(rng: np.random.Generator) -> tuple[str, str, bytes]:
    """A picture of some mode, format and size, as a file that the library agrees to write."""
    while True:
        mode, kind, size = drawn(rng, MODES), drawn(rng, FORMATS), drawn(rng, SIZES)
        values = rng.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
        file = io.BytesIO()
        try:
            image = Image.fromarray(values, "RGBA")
            image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
            image.save(file, kind)
        except Exception:  # whatever the library says of a mode that a format does not have
            continue
        return f"picture {mode} {kind} {size}", f".{kind.lower()}", file.getvalue()


def sound(rng: np.random.Generator) -> tuple[str, str, bytes]:
    """A sound of some format, rate, loudness and length, as a file that the library agrees to write."""
    while True:
        # SD2 is two files, of which the second would be written to the working folder.
        kind = drawn(rng, [name for name in soundfile.available_formats() if name != "SD2"])
        coding = drawn(rng, tuple(soundfile.available_subtypes(kind)))
        rate, loud, channels = drawn(rng, RATES), drawn(rng, LOUDNESS), drawn(rng, CHANNELS)
        samples = loud * rng.standard_normal((drawn(rng, SAMPLES), channels))
        file = io.BytesIO()
        try:
            soundfile.write(file, samples, rate, coding, format=kind)
        except Exception:  # as above
            continue
        content = file.getvalue()
        if content:
            name = f"sound {kind} {coding} {rate} Hz x{loud:g} {samples.shape}"
            return name, f".{kind.lower()}", content


DAMAGE: dict[str, Callable[[np.random.Generator, bytes], bytes]] = {
    "": lambda rng, content: content,
    "cut ": lambda rng, content: content[: len(content) // 2],
    "without a start ": lambda rng, content: content[8:],
    "empty ": lambda rng, content: b"",
    "a page of HTML for ": lambda rng, content: b"<!doctype html><title>404</title>",
    "with wrong bytes ": lambda rng, content: flipped(rng, content),
}


def damaged(rng: np.random.Generator, name: str, content: bytes) -> tuple[str, bytes]:
    """Half of all files are damaged."""
    how = "" if rng.random() < 0.5 else drawn(rng, tuple(DAMAGE))
    return how + name, DAMAGE[how](rng, content)


def flipped(rng: np.random.Generator, content: bytes) -> bytes:
    """A twentieth of the bytes, and one of the first 64, are others."""
    values = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(0, len(values), max(len(values) // 20, 1))
    values[places] = rng.integers(0, 256, len(places))
    values[int(rng.integers(min(64, len(values))))] ^= 0xFF
    return values.tobytes()
