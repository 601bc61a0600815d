"""Trainings on the tiny model with an option about modalities that learn at different speeds."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from omegaconf import OmegaConf

import conf
from data.batching.one_medium import OneMedium
from data.instantiate import instantiate
from tests.training.tiny import tiny_stream, tiny_trainer
from training.distributed import Processes

ALONE = Processes(0, 1, torch.device("cpu"))
FILES = {path.stem: path for path in sorted((Path(conf.__path__[0]) / "balance").glob("*.yaml"))}
NAMES = [name for name in FILES if name != "none"]


def made(name: str, **changes):
    """A choice of `conf/balance`, with other values."""
    config = OmegaConf.load(FILES[name])
    if name == "pdmp":
        changes = {"ranking": ["image", "audio"], **changes}
    return instantiate(OmegaConf.merge(config, changes), "balance")


def stream_of(model, **options):
    """The tiny stream with each medium alone."""
    return tiny_stream(model, one_medium=OneMedium(model.modalities, model.layouts), **options)


def trainer(folder, model, balance, processes=None, **changes):
    """A trainer; every batch has a sample with image and sound, the first ones at least."""
    own = {"rank": processes.rank, "world_size": processes.world_size} if processes else {}
    stream = changes.pop("stream", None) or stream_of(model, **own)
    return tiny_trainer(folder, model=model, stream=stream, balance=balance, processes=processes, **changes)


def sgd(lr):
    """An optimizer for `tiny_trainer`-like calls: torch's SGD, without momentum."""
    return partial(torch.optim.SGD, lr=lr)
