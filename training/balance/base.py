"""What a training may add where modalities learn at different speeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from data.types import InterleavedBatch, Modality
from fusion.cost.counting import SampleFlops, sample_flops
from fusion.model import FusionModel
from training.distributed import Processes
from training.steps.forward import Extra


class Balance:
    """Adds nothing; a subclass says what. Nothing here depends on the fusion method.

    sees_alone: whether it needs each medium alone in `InterleavedBatch.alone`.
    """

    sees_alone = False

    def check(self, model: FusionModel) -> None:
        """Raises `ValueError`, before the training starts, for a model that does not fit."""

    def prepare(self, model: nn.Module, processes: Processes, seed: int) -> None:
        """Told once what is trained, when it is sharded."""

    def extra(self, step: int) -> Extra | None:
        """What is done with each micro-batch of update `step`, before its loss is differentiated."""
        return None

    def modulate(self, step: int) -> Mapping[str, tuple[float, float]]:
        """Called when the gradients of update `step` are whole, by every process; returns what to log (see `Pairs`)."""
        return {}

    def updating(self) -> AbstractContextManager[None]:
        """Around the update."""
        return nullcontext()

    def flops(self, model: FusionModel, batch: InterleavedBatch) -> float:
        """Operations that it adds to the training of a sample of `batch`, on average."""
        return 0.0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`."""


def alone(batch: InterleavedBatch, processes: Processes) -> Iterator[tuple[Modality, InterleavedBatch]]:
    """The documents of a batch with several media, as they see each one alone.

    A process that is not alone passes through the model as often as the others, with padding if it has no documents.
    """
    for name, part in batch.alone.items():
        if part.sample_ids or processes.mesh is not None:
            yield name, part


def flops_alone(model: FusionModel, batch: InterleavedBatch, size: Callable[[SampleFlops], float]) -> float:
    """Operations of these documents, all media together, shared by all samples of the batch. size: those of one."""
    parts = [part for part in batch.alone.values() if part.sample_ids]
    return sum(size(sample_flops(model, part)) * part.num_samples for part in parts) / batch.num_samples
