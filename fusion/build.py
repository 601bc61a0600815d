"""A model from its configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf, flag_override

from data.instantiate import completed, instantiate, is_too_large, resolved, too_large
from data.types import TEXT, BadInputError, Modality
from encoders.base import Encoder
from fusion.cost.memory import WithinMemory
from fusion.model import FusionModel

PARTS = ("d_model", "encoders", "projector", "fusion", "shared_space")
# In the node of an encoder: true where it is only there if the data hold its media.
IF_HELD = "if_held"


def build_model(config: DictConfig, vocab_size: int, encoders: Mapping[Modality, Encoder] | None = None) -> FusionModel:
    """The model that `config` (`d_model` and the groups encoders, projector, fusion and shared_space) describes.

    `encoders` are taken instead of building those of the configuration. Weights come from torch's global generator:
    seed it before. Raises `BadInputError` with the message of the constructor that refused its arguments.
    """
    with _refusals(config):
        return FusionModel(
            d_model=config.d_model,
            text=partial(instantiate(config.encoders.text, "encoders.text"), vocab_size=vocab_size),
            encoders=_encoders(config) if encoders is None else encoders,
            projector=instantiate(config.projector, "projector"),
            fusion=instantiate(config.fusion, "fusion"),
            missing_token=config.get("missing_token", "none"),
            shared_space=instantiate(config.shared_space, "shared_space") if config.get("shared_space") else None,
        )


def build_encoders(config: DictConfig) -> dict[Modality, Encoder]:
    """The encoders of all media; one that is null is left out. Whether data hold its media is decided elsewhere.

    Raises as `build_model`, which draws their weights before all others.
    """
    with _refusals(config):
        return _encoders(config)


@contextmanager
def _refusals(config: DictConfig) -> Iterator[None]:
    """Where parts of a model are made: what their constructors refuse, and what is too large, is one line."""
    parts = {name: resolved(config[name], name) for name in PARTS if config.get(name) is not None}
    try:
        with WithinMemory(), completed(parts, ""):
            yield
    except ValueError as error:  # of a part that the model makes itself
        raise BadInputError(str(error)) from error
    except (RuntimeError, TypeError, MemoryError, OverflowError) as error:
        if not is_too_large(error):
            raise
        raise BadInputError(too_large(parts, "")) from error


def _encoders(config: DictConfig) -> dict[Modality, Encoder]:
    nodes = {name: node for name, node in config.encoders.items() if name != TEXT and node is not None}
    return {name: instantiate(_options(node), f"encoders.{name}") for name, node in nodes.items()}


def _options(node: Any) -> Any:
    """The node without `IF_HELD`, which is no option of an encoder."""
    if not OmegaConf.is_dict(node) or IF_HELD not in node:
        return node
    node = node.copy()
    with flag_override(node, ["struct", "readonly"], False):
        del node[IF_HELD]
    return node
