"""A run folder as training leaves it, around the tiny model of `colours.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.tokenizer import Tokenizer
from fusion.model import FusionModel
from tests.evaluation.colours import NUM_MELS, RATE, SIZE
from training.runs.checkpoint import CheckpointContents, save

TYPED = {"_target_": "tests.evaluation.colours.Colours", "questions": "typed", "num_images": 8}
SPOKEN = {"_target_": "tests.evaluation.colours.Colours", "questions": "spoken", "num_images": 8}
# Given on the command line, where any source may be named; a stored configuration may only name this project's.
EVALUATION = {
    "_target_": "evaluation.settings.Settings",
    "tasks": {"typed": TYPED, "spoken": SPOKEN},
    "prior": TYPED,
    "batch_size": 8,
    "max_new_tokens": 4,
    "bootstrap": {"_target_": "evaluation.settings.Bootstrap", "resamples": 1000},
}
SETTINGS = {"_target_": "evaluation.settings.Settings", "max_new_tokens": 3, "breakdown": ["template"]}
STORED_TASK = {
    "_target_": "data.sources.easy_vqa.EasyVqaQuestions",
    "split": "validation",
    "questions": "typed",
    "max_samples": 6,
}


def config(seed: int = 0) -> dict[str, Any]:
    """What `tiny_model` and `parts` build by hand."""
    mixer = {
        "_target_": "fusion.mixers.attention.SelfAttention",
        "_partial_": True,
        "num_heads": 2,
        "num_kv_heads": 1,
        "position": {"_target_": "fusion.positions.rope.Rope", "_partial_": True},
    }
    encoder = {"num_layers": 1, "num_heads": 2}
    image = {
        "_target_": "encoders.scratch.image.ImageEncoder",
        "image_size": SIZE,
        "channels": [8, 16],
        "strides": [2, 2],
        "kernels": [3, 3],
    }
    audio = {
        "_target_": "encoders.scratch.audio.AudioEncoder",
        "num_mels": NUM_MELS,
        "channels": [16, 16],
        "strides": [2, 2],
        "kernels": [3, 3],
    }
    features = {
        "_target_": "data.media.audio.LogMel",
        "sample_rate": RATE,
        "num_mels": NUM_MELS,
        "window": 200,
        "hop": 100,
    }
    return {
        "name": "colours",
        "seed": seed,
        "d_model": 32,
        "encoders": {
            "text": {"_target_": "encoders.text.TokenEmbedding", "_partial_": True},
            "image": image | encoder,
            "audio": audio | encoder,
        },
        "projector": {"_target_": "encoders.projector.MlpProjector", "_partial_": True},
        "fusion": {
            "_target_": "fusion.methods.early.EarlyFusion",
            "_partial_": True,
            "num_layers": 2,
            "mixer": mixer,
            "feed_forward": {"_target_": "fusion.feed_forward.swiglu.SwiGLU", "_partial_": True},
        },
        "data": {
            "processors": {
                "image": {"_target_": "data.media.image.ImageProcessor", "size": SIZE},
                "audio": {"_target_": "data.media.audio.AudioProcessor", "features": features},
            },
            "max_tokens": 128,
            "on_long_sample": "error",
            "on_bad_sample": "error",
        },
        "evaluation": SETTINGS | {"tasks": {"easy_vqa": STORED_TASK}},
    }


def save_run(
    run_folder: Path,
    model: FusionModel,
    tokenizer: Tokenizer,
    step: int = 20,
    seed: int = 0,
    stored: Mapping[str, Any] | None = None,
) -> Path:
    """Adds a checkpoint and its metrics to a run folder; returns the step's folder. stored: None: `config(seed)`."""
    run_folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(run_folder / "tokenizer.json")
    with (run_folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for place in (step // 2, step):
            row = {
                "step": place,
                "seconds": place / 2,
                "tokens": 100 * place,
                "train/loss": 1 / place,
                "data/skipped": 3,
            }
            file.write(json.dumps(row) + "\n")
    environment = {"commit": "abc", "cores": 2, "processor": "a processor"}
    (run_folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    contents = CheckpointContents(
        step=step,
        weights=model.state_dict(),
        averaged_weights=None,
        training={},
        config=dict(stored or config(seed)),
        tokenizer_path=run_folder / "tokenizer.json",
    )
    return save(run_folder / "checkpoints", contents)
