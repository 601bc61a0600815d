from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from omegaconf import OmegaConf

from certify.context import Context, randomise
from tests.fusion.builders import VOCAB_SIZE, small_model
from training.objectives.next_token import NextToken
from training.optimizers.groups import muon


@pytest.fixture
def context() -> Iterator[Context]:
    """A small model that has nothing wrong with it; a test may break it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = small_model().double()
    randomise(model, seed=0)
    optimizer = partial(muon, lr=0.02, adamw_lr=1e-3)
    yield Context(model, VOCAB_SIZE, NextToken(), optimizer, config=OmegaConf.create({}))
    torch.set_num_threads(threads)
