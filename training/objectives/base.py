"""What an objective is, and what it returns.

An objective turns a model's hidden states of a batch into `LossTerms`. It returns sums, never means: the trainer
divides by the count of the whole accumulation window over all processes. So accumulating is the same as a larger batch.
Only contrastive objectives differ: their loss depends on what is in a batch together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from data.batching.loader import BatchStream
from data.sources.base import MESSAGES
from data.tokenizer import Tokenizer
from data.types import InterleavedBatch
from fusion.hidden import Aux
from training.distributed import Processes


@dataclass(frozen=True)
class LossTerms:
    """The loss of one micro-batch.

    sum: scalar, with gradient; count: how many terms it has; groups: for each label group, the sum (a scalar
    without gradient) and the count of its terms. aux: what the layers said; its losses are part of the sum.
    """

    sum: Tensor
    count: int
    groups: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    aux: Aux | None = None

    def with_aux(self, aux: Aux | None) -> LossTerms:
        """Each term with the auxiliary losses added, so that they weigh the same however batches are accumulated."""
        if aux is None:
            return self
        total = self.sum
        for loss in aux.losses.values():
            total = total + self.count * loss.to(total.dtype)
        return replace(self, sum=total, aux=aux)


class Objective(nn.Module):
    """Base class; a subclass defines `terms`. reads: the kinds of samples that it learns from (see `BatchStream`).

    It is a module, so that it may have parameters of its own (a learned weight, a head that is dropped later). They are
    trained with the model's, by AdamW, and every process has them whole. A checkpoint keeps its `state_dict()` for a
    resume; what `prepare` makes again anyway, such as a frozen teacher, may be left out there. Who loads the model to
    evaluate it gets none of it.
    """

    reads: tuple[str, ...] = (MESSAGES,)

    def __init__(self) -> None:
        super().__init__()  # a signature without options: those of a subclass are its own

    def prepare(self, processes: Processes, tokenizer: Tokenizer, model: nn.Module) -> None:
        """Told once, before the training starts or goes on, for what model it is; makes what depends on that.

        The model is whole, on the CPU, and has the weights that a training starts with. Parameters are made here or in
        the constructor; a resume then gives them their values. What is large is loaded here, for a constructor is also
        called by those who only ask what it `reads`. Random draws come from torch's generator, which is seeded. Raises
        `ValueError` for what cannot be used.
        """

    def forward(self, model: nn.Module, batch: InterleavedBatch) -> LossTerms:
        """The loss of one micro-batch, summed, with the auxiliary losses of the model's layers."""
        hidden = model(batch)
        return self.terms(model, hidden.states, batch).with_aux(hidden.aux)

    def terms(self, model: nn.Module, hidden_BLD: Tensor, batch: InterleavedBatch) -> LossTerms:
        """The loss, given the hidden states, so that several objectives can share one forward pass."""
        raise NotImplementedError(f"{type(self).__name__} must define terms")

    def check(self, model: nn.Module) -> None:
        """Raises `ValueError`, before the training starts, for a model that lacks what is needed."""

    def check_data(self, stream: BatchStream) -> None:
        """Raises `ValueError`, before the training starts, for batches that nothing can be learned from."""
