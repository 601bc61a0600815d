"""An objective that owns a probe, a learned weight, a buffer and a teacher; worker processes need it in a module."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from data.types import UNSUPERVISED
from training.objectives.base import LossTerms, Objective
from training.objectives.next_token import NextToken


class Probed(Objective):
    """Next tokens, and beside them a probe that guesses the modality of every supervised position.

    The probe's width comes from the model, so that it is made in `prepare`; its share of the loss is learned. It is
    given hidden states with their gradient, so that what it learns reaches the model.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))
        self.next_token = NextToken()

    def prepare(self, processes, tokenizer, model):
        self.probe = nn.Linear(model.d_model, tokenizer.vocab_size)
        self.teacher = deepcopy(model.norm).requires_grad_(False)

    def terms(self, model, hidden_BLD, batch):
        found = self.next_token.terms(model, hidden_BLD, batch)
        self.batches += 1
        there_BL = batch.labels != UNSUPERVISED
        scores_SV = self.probe(self.teacher(hidden_BLD[there_BL]))
        guessed = nn.functional.cross_entropy(scores_SV.float(), batch.labels[there_BL], reduction="sum")
        # The usual form of a learned uncertainty: exp(-w) * loss + w (arXiv:1705.07115).
        added = torch.exp(-self.log_weight) * guessed + self.log_weight * found.count
        return LossTerms(found.sum + added, found.count, found.groups)
