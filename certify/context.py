"""The model that is checked, and what else the checks need.

Shape legend: B rows of a batch, L tokens in a row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from certify.documents import make_documents
from data.batching.collate import collate, collate_prompts
from data.batching.document import Document
from data.batching.packing import pack
from data.types import InterleavedBatch
from fusion.mode import switched
from fusion.model import FusionModel
from training.objectives.base import Objective
from training.optimizers.groups import Optimizers


@dataclass(frozen=True)
class Context:
    """A model with non-trivial weights, how it would be trained, and the configuration of it all.

    Batches and items are made on the device and in the precision of the model: float64 on the CPU unless asked for
    otherwise.
    """

    model: FusionModel
    vocab_size: int
    objective: Objective
    optimizer: Callable[[nn.Module], Optimizers]
    config: DictConfig
    seed: int = 0

    def documents(self) -> list[Document]:
        """The same documents at every call."""
        return make_documents(self.model, self.vocab_size, self.seed)

    def rng(self) -> np.random.Generator:
        """For the random choices of one check."""
        return np.random.default_rng(self.seed + 1)

    @property
    def weight(self) -> Tensor:
        """Any of the weights, which are all on one device and of one precision."""
        return next(self.model.parameters())

    def alone(self, documents: Sequence[Document]) -> list[InterleavedBatch]:
        """A batch for each document."""
        return [self.collated([[document]]) for document in documents]

    def batched(self, documents: Sequence[Document]) -> InterleavedBatch:
        """A row for each document, padded to the longest."""
        return self.collated([[document] for document in documents])

    def packed(self, documents: Sequence[Document]) -> InterleavedBatch:
        """Few rows, in about three documents each."""
        total = sum(len(document) for document in documents)
        row_length = max(total * 3 // max(len(documents), 1), max(len(document) for document in documents))
        return self.collated(pack(documents, row_length))

    def prompts(self, documents: Sequence[Document]) -> InterleavedBatch:
        """A row for each document, as generation wants it."""
        return collate_prompts([self._precise(document) for document in documents]).to(self.weight.device)

    def collated(self, rows: Sequence[Sequence[Document]]) -> InterleavedBatch:
        """The documents of each row."""
        return collate([[self._precise(document) for document in row] for row in rows]).to(self.weight.device)

    def _precise(self, document: Document) -> Document:
        return replace(document, media=tuple((name, values.to(self.weight.dtype)) for name, values in document.media))


@torch.no_grad()
def randomise(model: nn.Module, seed: int) -> None:
    """Moves every parameter from its initial value, so that no gate of zeros and no scale of ones hides anything."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        scale = 0.5 * parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.2
        parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter), alpha=scale)


def logits(model: FusionModel, batch: InterleavedBatch) -> dict[str, Tensor]:
    """For each document of the batch, by its name, the scores [its tokens, V], as in evaluation."""
    with switched(model, training=False), torch.no_grad():
        return by_document(batch, model.logits(model(batch).states))


def training_logits(model: FusionModel, batch: InterleavedBatch) -> dict[str, Tensor]:
    """The same as in training: normalisations take the statistics of the batch, and dropout, if any, is drawn."""
    with switched(model, training=True), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return by_document(batch, model.logits(model(batch).states))


def by_document(batch: InterleavedBatch, values: Tensor) -> dict[str, Tensor]:
    """The part of `values` [B, L, ...] that belongs to each document."""
    return {name: values[batch.document_ids == index] for index, name in enumerate(batch.sample_ids)}
