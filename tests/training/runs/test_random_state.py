"""What a process draws itself, such as dropout, follows from the seed, the step and its rank; from nothing else."""

from __future__ import annotations

import random
import signal

import numpy as np
import pytest
import torch

from data.batching.loader import loader
from data.storage.run_log import read_metrics
from tests.training.runs.test_resume import same_weights
from tests.training.tiny import same_metrics, tiny_model, tiny_stream, tiny_trainer
from tests.training.worker import OPTIONS, evaluate, signalling
from training.distributed import Processes
from training.runs.interruption import TrainingInterrupted
from training.runs.random_state import seed_step


def drawn(*arguments: int) -> tuple[float, float, float]:
    seed_step(*arguments)
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_seed_step_and_rank_decide_what_every_generator_draws() -> None:
    expected = drawn(0, 3, 0)
    torch.rand(7)
    assert drawn(0, 3, 0) == expected
    for other in ((1, 3, 0), (0, 4, 0), (0, 3, 1), (3, 0, 0), (0, 0, 3)):
        assert all(a != b for a, b in zip(drawn(*other), expected, strict=True))


def model_with_dropout(masks: list[torch.Tensor] | None = None) -> torch.nn.Module:
    """The tiny model with dropout behind its first block; in training, the masks are noted."""

    def drop(module, inputs, hidden):
        if not module.training:
            return hidden
        mask = (torch.rand_like(hidden.states) > 0.3).float()
        if masks is not None:
            masks.append(mask[0, 0])
        return hidden._replace(states=hidden.states * mask)

    model = tiny_model()
    model.fusion.blocks[0].register_forward_hook(drop)
    return model


def test_a_resume_drops_what_would_have_been_dropped(tmp_path) -> None:
    unbroken, run = tmp_path / "unbroken", tmp_path / "run"
    masks: list[torch.Tensor] = []
    tiny_trainer(unbroken, model=model_with_dropout(masks), evaluate=evaluate, **OPTIONS).fit()
    assert len({tuple(mask.tolist()) for mask in masks}) == len(masks) == 24, "each micro-batch has a mask of its own"
    stream = tiny_stream(tiny_model())
    load = signalling(lambda start, stop: loader(stream, start, stop), 9, signal.SIGINT)
    with pytest.raises(TrainingInterrupted):
        tiny_trainer(run, model=model_with_dropout(), load=load, evaluate=evaluate, **OPTIONS).fit()
    torch.rand(5)
    tiny_trainer(run, model=model_with_dropout(), resume=run, evaluate=evaluate, **OPTIONS).fit()
    assert same_weights(run, unbroken)
    assert same_metrics(read_metrics(run / "metrics.jsonl"), read_metrics(unbroken / "metrics.jsonl"))


def test_another_seed_drops_otherwise(tmp_path) -> None:
    found = []
    for seed in (0, 1):
        masks: list[torch.Tensor] = []
        tiny_trainer(tmp_path / str(seed), model=model_with_dropout(masks), max_steps=1, seed=seed).fit()
        found.append(masks[0])
    assert not torch.equal(*found)


def test_a_resume_by_another_number_of_processes_says_so_in_one_line(tmp_path, capsys) -> None:
    two = Processes(0, 2, torch.device("cpu"))
    tiny_trainer(tmp_path, processes=two, max_steps=3).fit()
    tiny_trainer(tmp_path, processes=two, resume=tmp_path, max_steps=6).fit()
    assert "saved by" not in capsys.readouterr().out
    tiny_trainer(tmp_path, resume=tmp_path, max_steps=9).fit()
    said = [line for line in capsys.readouterr().out.splitlines() if "saved by" in line]
    assert len(said) == 1
    assert said[0].startswith("resume: resumed by 1 process, saved by 2: ")
