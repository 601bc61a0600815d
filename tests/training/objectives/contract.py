"""What every objective promises, shown on a tiny model: it trains, accumulates, and goes on after a stop to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.batching.loader import BatchStream
from data.sources.base import ALIGNED, MESSAGES
from data.storage.run_log import read_metrics
from data.types import InterleavedBatch
from fusion.checkpoint import OBJECTIVE, WEIGHTS, resolve
from fusion.model import FusionModel
from tests.training.aligned import aligned_model, aligned_stream
from tests.training.tiny import same_metrics, tiny_stream, tiny_trainer, tokenizer
from training.distributed import Processes
from training.objectives.base import Objective
from training.steps.accumulation import accumulate

OPTIONS: dict[str, Any] = {"max_steps": 4, "checkpoint_every": 2, "log_every": 1, "keep_checkpoints": 9}


def stream_of(model: FusionModel, objective: Objective) -> BatchStream:
    """Conversations and aligned samples, as far as it reads them."""
    if ALIGNED not in objective.reads:
        return tiny_stream(model)
    return aligned_stream(model, reads=objective.reads, conversations=MESSAGES in objective.reads)


def trained(run: Path, objective: Objective, resume: Path | None = None) -> None:
    """Four updates, or those that are left."""
    model = aligned_model()
    objective.check(model)
    stream = stream_of(model, objective)
    objective.check_data(stream)
    tiny_trainer(run, model=model, stream=stream, objective=objective, resume=resume, **OPTIONS).fit()


def trains_and_resumes(folder: Path, make: Callable[[], Objective]) -> None:
    """Its loss is finite, what it owns learns, and a run that is resumed half-way ends as one that was left alone."""
    whole, broken = folder / "whole", folder / "broken"
    objective = make()
    trained(whole, objective)
    rows = read_metrics(whole / "metrics.jsonl")
    assert len(rows) == 4
    for row in rows:
        assert torch.tensor(row["train/loss"]).isfinite()
        assert row["grad_norm/total"] > 0
        assert ("grad_norm/objective" in row) == any(p.requires_grad for p in objective.parameters())
        assert row.get("grad_norm/objective", 1) > 0
    shutil.copytree(whole, broken)
    shutil.rmtree(broken / "checkpoints" / "step_4")
    trained(broken, make(), resume=broken)
    assert same_metrics(read_metrics(broken / "metrics.jsonl"), rows)
    states, others = ([contents(resolve(run) / name) for name in (WEIGHTS, OBJECTIVE)] for run in (whole, broken))
    assert states == others
    assert bool(states[1]) == bool(objective.state_dict())


def contents(path: Path) -> bytes:
    """Of a file; nothing if there is none."""
    return path.read_bytes() if path.exists() else b""


def accumulates(make: Callable[[], Objective]) -> None:
    """The gradients of three micro-batches are those of the sum of their losses over the number of all their terms."""
    model, objective = aligned_model(), make()
    torch.manual_seed(0)
    objective.prepare(Processes(0, 1, torch.device("cpu")), tokenizer(), model)
    stream = stream_of(model, objective)
    batches = [stream[number] for number in range(3)]
    learning = nn.ModuleList([model, objective])
    found = _gradients(learning, lambda: accumulate(model, objective, batches))
    expected = _gradients(learning, lambda: _mean(model, objective, batches).backward())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())


def _mean(model: nn.Module, objective: Objective, batches: list[InterleavedBatch]) -> torch.Tensor:
    terms = [objective(model, batch) for batch in batches]
    return torch.stack([found.sum for found in terms]).sum() / sum(found.count for found in terms)


def _gradients(module: nn.Module, run: Callable[[], Any]) -> dict[str, torch.Tensor]:
    module.zero_grad()
    run()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
