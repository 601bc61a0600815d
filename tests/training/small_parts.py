"""A model whose parts have fewer rows than there are processes, so that some process holds nothing of them."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from training import distributed
from training.distributed import Processes
from training.optimizers.groups import adamw, muon
from training.steps import gradients
from training.steps.ema import Ema

OPTIMIZERS = {
    "adamw": partial(adamw, lr=1e-2, weight_decay=0.1),
    "muon": partial(muon, lr=0.02, adamw_lr=1e-2, weight_decay=0.1, adamw_weight_decay=0.1),
}
ALONE = Processes(0, 1, torch.device("cpu"))
# Of six updates, those in which nothing reaches the encoder.
UNUSED = (3, 4)


class SmallParts(nn.Module):
    """An encoder and a head of one or three rows, biases of one entry, a kernel with one channel, a stack of one.

    And a stack of three, of which an update uses one, and none the last.
    """

    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleDict({"sensor": Encoder()})
        self.head = nn.Linear(4, 1)

    def forward(self, x_BCT, weight, choice):
        return self.head(self.encoder["sensor"](x_BCT, choice) * weight + 1.0)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Conv1d(3, 1, 2)
        self.norm = nn.LayerNorm(1)
        self.table = nn.Embedding(1, 3)
        self.wide = nn.Linear(3, 4)
        self.expert_weight = nn.Parameter(torch.randn(1, 4, 4))
        self.chosen_weight = nn.Parameter(torch.randn(3, 4, 4))

    def forward(self, x_BCT, choice):
        x_BT1 = self.norm(self.kernel(x_BCT).mT)
        x_B3 = x_BT1.mean(1) * 0.5 + self.kernel(x_BCT).mean((1, 2))[:, None] + self.table.weight
        return self.wide(x_B3) @ self.expert_weight[0] @ self.chosen_weight[choice]


def updates(kind, processes=ALONE, saves_at=None):
    """Whole weights, averages and gradient norms of six updates, and the names of the parameters.

    At `saves_at` the states of optimizer and average go into new ones, as in a resume.
    """
    torch.manual_seed(0)
    model = SmallParts()
    distributed.shard(model, processes)
    optimizer, ema, parts = OPTIMIZERS[kind](model), Ema(model, 0.9), gradients.parts(model)
    found = []
    for step in range(6):
        if step == saves_at:
            states, averages, count = optimizer.state_dict(), ema.full_averages(), ema.updates
            optimizer, ema = OPTIMIZERS[kind](model), Ema(model, 0.9)
            optimizer.load_state_dict(states)
            ema.load(averages, count)
        generator = torch.Generator().manual_seed(step)
        x_BCT = torch.randn(5, 3, 4, generator=generator)
        model(x_BCT, 0.0 if step in UNUSED else 1.0, step % 2).square().sum().backward()
        norms = gradients.norms(parts, processes)
        gradients.clip(model, norms["total"], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update()
        weights = distributed.full_state_dict(model)
        found.append({"weights": weights, "averages": ema.full_averages(), "norms": norms})
    return found
