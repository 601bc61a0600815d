"""A report as evaluation writes it, with made-up numbers."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.batching.interleave import Interleaver
from data.tokenizer import Tokenizer
from evaluation.metrics.scores import bootstrap
from fusion.model import FusionModel
from tests.evaluation.colours import learn, parts

ANSWERS = ("yes", "no", "red", "teal", "blue", "circle", "rectangle")


def made_up_score(value: float, n: int, seed: int = 0) -> dict[str, Any]:
    correct = np.random.default_rng(seed).random(n) < value
    return bootstrap(correct, list((np.arange(n) // 10).astype(str)), resamples=1000).to_json()


def made_up_report() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    report: dict[str, Any] = {"tasks": {}, "breakdown": {}, "audit": {}, "omitted": {}, "confusion": {}}
    templates = ["what is the color of the {shape}?", "is there a {color} shape?", "what is the {color} shape?"]
    for task, value in (("easy_vqa/typed", 0.987), ("easy_vqa/spoken", 0.951)):
        report["tasks"][task] = {"accuracy": made_up_score(value, 3000)}
        report["breakdown"][task] = {
            "answer_type": {key: made_up_score(value - 0.01 * i, 900) for i, key in enumerate(("shape", "colour"))},
            "template": {key: made_up_score(value - 0.02 * i, 300, i) for i, key in enumerate(templates)},
        }
        blind = {"majority": 0.31, "question_majority": 0.67, "question_only": 0.66, "image_only": 0.3}
        report["audit"][task] = {key: made_up_score(x, 2000) for key, x in (blind | {"image_shuffled": 0.62}).items()}
        report["omitted"][task] = {}
        report["confusion"][task] = {
            answer: {answer: 300, ANSWERS[rng.integers(7)]: int(rng.integers(1, 9)), "x": 1} for answer in ANSWERS
        }
    report["audit"]["easy_vqa/spoken"]["audio_shuffled"] = made_up_score(0.35, 2000)
    flops = {"inference": 2.1e8, "training": 6.6e8, "by_part": {"fusion": 2.0e8, "head": 1e7}}
    report["model"] = {"parameters": 1_234_567, "active_parameters": 1_234_567, "flops": flops}
    report["train"] = {"seconds": 700.5, "steps": 3000, "tokens": 7_000_000}
    report["data"] = {"skipped": 0, "skipped_in_evaluation": 0, "reasons": []}
    report["provenance"] = {"step": 3000, "checkpoint": "checkpoints/step_3000", "checkpoint_hash": "c0ffee", "seed": 0}
    return report


@pytest.fixture(scope="session")
def _report() -> dict[str, Any]:
    return made_up_report()


@pytest.fixture
def report(_report: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(_report)


@pytest.fixture
def metrics_file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "metrics.jsonl"
    rows: list[dict[str, Any]] = []
    for step in range(20, 3001, 20):
        loss = 0.02 + 1.5 * np.exp(-step / 600) * (1 + 0.2 * rng.standard_normal())
        rows.append({"step": step, "seconds": step / 4, "tokens": step * 2000, "train/loss": max(loss, 0.01)})
        if step % 300 == 0:
            reached = 1 - 0.4 * float(np.exp(-step / 500))
            scores = {"val/easy_vqa/typed/accuracy": reached, "val/easy_vqa/spoken/accuracy": reached - 0.04}
            rows.append(
                {"step": step, "seconds": step / 4, "tokens": step * 2000, **scores, "val/accuracy": reached - 0.02}
            )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 30', encoding="utf-8")
    return path


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models are slower on several threads, much slower when the cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trained() -> tuple[FusionModel, Tokenizer, Interleaver]:
    """A tiny model that answers the questions of `colours.py`, with its tokenizer and interleaver."""
    model, tokenizer, interleaver = parts()
    assert learn(model, interleaver) < 0.05
    return model.eval(), tokenizer, interleaver
