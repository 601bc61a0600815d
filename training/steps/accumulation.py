"""Forward and backward over the micro-batches of one update."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from data.types import InterleavedBatch
from training.distributed import Processes
from training.objectives.base import Objective
from training.steps import gradients
from training.steps.forward import Extra, Forward
from training.steps.statistics import Pairs, Statistics


@dataclass(frozen=True)
class StepTotals:
    """One update's sums, over all its micro-batches and all processes; `groups` and `statistics` of this process alone.

    loss: summed over terms; count: terms, that is supervised tokens; tokens: without padding; slots: with padding;
    skipped: why samples were left out (of this process); groups: sum and count of the loss of each label group;
    statistics: what the layers and an `Extra` say.
    """

    loss: float
    count: int
    tokens: int
    slots: int
    num_skipped: int
    skipped: tuple[str, ...]
    groups: dict[str, tuple[float, int]]
    statistics: Pairs = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Loss per term."""
        return self.loss / max(self.count, 1)


def accumulate(
    model: nn.Module,
    objective: Objective,
    batches: Iterable[InterleavedBatch],
    processes: Processes | None = None,
    precision: str = "float32",
    extra: Extra | None = None,
) -> StepTotals:
    """Leaves in model and objective the gradient of the mean loss over all terms of all `batches` and processes.

    Sums are differentiated and divided once, at the end, by the count of the whole window: micro-batches with few
    supervised tokens weigh little, as in one large batch. Gradients must be empty before.
    """
    processes = processes or Processes(0, 1, next(model.parameters()).device)
    forward = Forward(model, objective, processes, precision)
    losses: list[Tensor] = []
    groups: dict[str, list[tuple[Tensor, int]]] = defaultdict(list)
    added: dict[str, list[tuple[Tensor, int]]] = defaultdict(list)
    statistics = Statistics(getattr(model, "modalities", ()))
    count = tokens = slots = 0
    skipped: list[str] = []
    for batch in batches:
        tokens += batch.num_tokens
        slots += batch.document_ids.numel()
        skipped += batch.skipped
        batch = batch.to(processes.device)
        for name, pair in (extra(forward, batch) if extra else {}).items():
            added[name].append(pair)
        terms = forward.terms(batch)
        terms.sum.backward()
        losses.append(terms.sum.detach())
        count += terms.count
        statistics.add(terms.aux, terms.count)
        for name, group in terms.groups.items():
            groups[name].append(group)
    loss = float(torch.stack(losses).cpu().double().sum())  # not every device has float64
    sums = processes.sum([loss, count, tokens, slots, len(skipped)])
    # FSDP averages over processes what must be summed.
    gradients.scale(model, processes.world_size / max(sums[1], 1.0))
    gradients.sum_whole(objective, processes)
    gradients.scale(objective, 1 / max(sums[1], 1.0))
    return StepTotals(
        loss=sums[0],
        count=int(sums[1]),
        tokens=int(sums[2]),
        slots=int(sums[3]),
        num_skipped=int(sums[4]),
        skipped=tuple(skipped),
        groups=_summed(groups),
        statistics=statistics.pairs() | _summed(added),
    )


def _summed(pairs: Mapping[str, Sequence[tuple[Tensor, int]]]) -> dict[str, tuple[float, int]]:
    return {name: (sum(float(s) for s, _ in items), sum(n for _, n in items)) for name, items in pairs.items()}
