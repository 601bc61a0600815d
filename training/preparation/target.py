"""A model of the size that `target` asks for: its width is found before its weights are made, and they are made once.

Encoders have widths of their own, so that they are made first. The size depends on the data. Until these have been
read, the rest is made as narrow as can be. How many tokens a medium becomes does not depend on the width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from data.batching.loader import BatchStream
from data.types import BadInputError, Modality
from fusion.build import build_encoders, build_model
from fusion.cost.sizing import QUANTITIES, narrowest, solve
from fusion.model import FusionModel
from training.distributed import Processes
from training.runs.random_state import seed_everything


@dataclass(frozen=True)
class Draft:
    """A model with a width that is not known yet.

    model: the encoders as they stay, in the narrowest model. generator: the state of torch's generator. The other
    weights are drawn from it, so that they are the same as if the size had been configured.
    """

    model: FusionModel
    generator: Tensor

    @property
    def encoders(self) -> dict[Modality, Any]:
        """Those of all media."""
        found: dict[Modality, Any] = dict(self.model.media_encoders.items())
        return {name: media.encoder for name, media in found.items()}


def wanted(config: DictConfig) -> tuple[str, float] | None:
    """The quantity that `target` gives, and its value; None without a target. Raises `BadInputError` for two."""
    target = config.get("target") or {}
    found = [(name, float(target[name])) for name in QUANTITIES if target.get(name) is not None]
    if len(found) > 1:
        raise BadInputError(f"target: only one of {', '.join(QUANTITIES)} may be given")
    return found[0] if found else None


def drafted(config: DictConfig, vocab_size: int) -> Draft:
    """The encoders, and a model around them, so that the data can be read."""
    seed_everything(config.seed)
    encoders = build_encoders(config)
    generator = torch.get_rng_state()
    return Draft(build_model(narrowest(config), vocab_size, encoders), generator)


def sized(
    config: DictConfig, draft: Draft, vocab_size: int, stream: BatchStream, processes: Processes
) -> tuple[DictConfig, FusionModel]:
    """The configuration and the model of the size that is wanted.

    Operations are those of the main process's part of the first batch. Raises `BadInputError` with the nearest possible
    size if there is none.
    """
    target = wanted(config)
    assert target is not None
    found = solve(config, vocab_size, *target, stream[0], draft.encoders).config if processes.is_main else None
    config = next(item for item in processes.gather(found) if item is not None)
    torch.set_rng_state(draft.generator)
    return config, build_model(config, vocab_size, draft.encoders)
