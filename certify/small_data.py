"""A small data set on disk, generated: conversations about images and sounds in the manifest format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from data.sources.base import ALIGNED, MESSAGES
from data.types import AUDIO, IMAGE, Modality

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 220), "grey": (128, 128, 128)}
RATE = 16_000


def write_small_data(
    folder: Path, modalities: Sequence[Modality], kind: str = MESSAGES, num_samples: int = 16, seed: int = 0
) -> Path:
    """Writes media files and `manifest.jsonl` of samples of one kind ("messages" or "aligned"), and returns its path.

    Conversations alternate between a typed question about an image, a question that is a sound, and one of text alone.
    Aligned samples alternate between those with an image, a sound, or both in addition to the text. Media of other
    modalities than image and audio have no file format here and are left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    media = [medium for medium in (IMAGE, AUDIO) if medium in modalities]
    mixes: list[list[Modality]] = [*([medium] for medium in media), media]
    if kind == MESSAGES:
        mixes.insert(0, [])
    rows = [_row(folder, str(index), mixes[index % len(mixes)], kind, rng) for index in range(num_samples)]
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _row(folder: Path, name: str, media: Sequence[Modality], kind: str, rng: np.random.Generator) -> dict[str, Any]:
    colour = str(rng.choice(list(COLOURS)))
    content: list[dict[str, str]] = []
    if IMAGE in media:
        _write_image(folder / f"{name}.png", colour, rng)
        content.append({"type": "image", "path": f"{name}.png"})
    if AUDIO in media:
        _write_sound(folder / f"{name}.wav", rng)
        content.append({"type": "audio", "path": f"{name}.wav"})
    if kind == ALIGNED:
        return {"id": name, "aligned": [*content, {"type": "text", "text": f"{colour} {name}"}]}
    if not media:
        content.append({"type": "text", "text": f"say {colour}"})
    elif IMAGE in media:
        content.append({"type": "text", "text": "which colour?"})
    answer = {"role": "assistant", "content": [{"type": "text", "text": colour}]}
    return {"id": name, "messages": [{"role": "user", "content": content}, answer]}


def _write_image(path: Path, colour: str, rng: np.random.Generator) -> None:
    pixels = np.array(COLOURS[colour]) + rng.integers(-30, 31, size=(64, 64, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def _write_sound(path: Path, rng: np.random.Generator) -> None:
    seconds = np.arange(int(RATE * rng.uniform(0.2, 0.5))) / RATE
    sound = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 900) * seconds) + 0.02 * rng.standard_normal(len(seconds))
    soundfile.write(path, sound.astype(np.float32), RATE)
