"""A model from its configuration."""

from __future__ import annotations

from functools import partial
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from data.types import TEXT, BadInputError
from fusion.model import FusionModel


def build_model(config: DictConfig, vocab_size: int) -> FusionModel:
    """The model that `config` (`d_model` and the groups encoders, projector and fusion) describes.

    Weights come from torch's global generator: seed it before. Raises `BadInputError` with the message of the
    constructor that refused its arguments.
    """
    encoders = {name: node for name, node in config.encoders.items() if name != TEXT and node is not None}
    return FusionModel(
        d_model=config.d_model,
        text=partial(instantiate(config.encoders.text), vocab_size=vocab_size),
        encoders={name: instantiate(node) for name, node in encoders.items()},
        projector=instantiate(config.projector),
        fusion=instantiate(config.fusion),
    )


def instantiate(node: DictConfig) -> Any:
    """`hydra.utils.instantiate`, with the constructor's own complaint in place of Hydra's wrapping."""
    try:
        return hydra.utils.instantiate(node)
    except InstantiationException as error:
        cause = error.__cause__
        raise BadInputError(f"{node.get('_target_')}: {cause or error}".splitlines()[0]) from error
