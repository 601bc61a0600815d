"""Tasks of lm-eval on files that a test writes, about the colours of `tests.evaluation.colours`; and our questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from data.types import AUDIO, IMAGE, Media, Message, Modality, Sample, Segment, Text
from tests.evaluation.colours import COLOURS, QUESTIONS, RATE, colour_image, whistle

NUM_ROWS = 12
# Of every kind that a model is asked; the rest of a task is in `task`.
LIKELIHOOD = {
    "output_type": "multiple_choice",
    "doc_to_choice": "choices",
    "doc_to_target": "{{choices.index(answer)}}",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}
GENERATION = {
    "output_type": "generate_until",
    "doc_to_target": "answer",
    "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 4},
    "metric_list": [{"metric": "exact_match"}],
}
TYPED = {"doc_to_text": "{{question}}", "doc_to_image": "['{{image}}']"}
SPOKEN = {"doc_to_text": "", "doc_to_image": "['{{image}}']", "doc_to_audio": "['{{audio}}']"}


def write_rows(folder: Path) -> Path:
    """Pictures, sounds and rows.jsonl, in that folder."""
    rng = np.random.default_rng(3)
    rows = []
    for number in range(NUM_ROWS):
        name, asked = list(COLOURS)[number % 4], number % 2
        image, audio = folder / f"{number}.png", folder / f"{number}.wav"
        Image.fromarray(colour_image(name, rng).permute(1, 2, 0).numpy()).save(image)
        soundfile.write(audio, whistle(asked, number).numpy(), RATE, subtype="FLOAT")
        answer = ("yes" if name == "red" else "no") if asked else name
        choices = ["yes", "no"] if asked else list(COLOURS)
        row = {"image": str(image), "audio": str(audio), "question": QUESTIONS[asked], "answer": answer}
        rows.append({**row, "choices": choices, "text": f"{QUESTIONS[asked]} {answer}"})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def task(rows: Path, *parts: dict[str, Any]) -> dict[str, Any]:
    """A task of lm-eval about these rows, which its `datasets` reads into a folder next to them."""
    files = {"data_files": {"test": str(rows)}, "cache_dir": str(rows.parent / "cache")}
    content: dict[str, Any] = {"task": "colours", "dataset_path": "json", "dataset_kwargs": files, "test_split": "test"}
    for part in parts:
        content |= part
    return content


def samples(rows: Path, *modalities: Modality) -> list[Sample]:
    """The same questions as this project asks them: the media of these modalities, and the text unless it is spoken."""
    found = []
    for number, line in enumerate(rows.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        content: list[Segment] = [Media(name, Path(row[name])) for name in modalities]
        if AUDIO not in modalities:
            content.append(Text(row["question"]))
        answer = Message("assistant", (Text(row["answer"]),))
        messages = (Message("user", tuple(content)), answer)
        found.append(Sample(str(number), messages, choices=tuple(row["choices"])))
    return found


KINDS = {"typed": (TYPED, (IMAGE,)), "spoken": (SPOKEN, (IMAGE, AUDIO))}
