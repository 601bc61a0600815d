"""How large a model must be to cost a given number of parameters or operations: for comparisons at equal cost.

Candidates are built on the meta device, so that no memory is taken. What a document asks of a model (how many tokens
each module sees) does not depend on the width; it is recorded once, from the narrowest model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from data.types import BadInputError, InterleavedBatch, Layout
from encoders.base import Encoder
from fusion.build import build_encoders, build_model
from fusion.cost.counting import parameter_counts
from fusion.cost.flops import Usage, count, mean, usages

QUANTITIES = ("flops", "fusion_flops", "parameters")
TOLERANCE = 0.02
WIDEST = 2**16
# The feed-forward layer is made this many times as wide, at least and at most, to meet a target between two widths.
NARROWEST_EXPANSION, WIDEST_EXPANSION = 0.5, 2.0
EXPANSION = "feed_forward.expansion"


@dataclass(frozen=True)
class Size:
    """A configuration and what its model costs."""

    config: DictConfig
    cost: float

    def __str__(self) -> str:
        expansion = OmegaConf.select(self.config, f"fusion.{EXPANSION}")
        beside = "" if expansion is None else f" and fusion.{EXPANSION}={expansion:.4g}"
        return f"{self.cost:.4g} with d_model={self.config.d_model}{beside}"


def solve(
    config: DictConfig,
    vocab_size: int,
    quantity: str,
    target: float,
    batch: InterleavedBatch | None = None,
    encoders: Mapping[str, Encoder] | None = None,
) -> Size:
    """The configuration with the model that costs nearest to `target`, found by its width; at most 2 % away.

    quantity: "parameters", or "flops" of the forward pass of a sample, averaged over those of `batch`; "fusion_flops"
    are those of the fusion method alone, without encoders and head. `d_model`
    stays a multiple of twice every number of heads, which are fixed, as are depth and encoders. Where the steps between
    two widths are too coarse, the expansion of the feed-forward layer makes up for it. `encoders` are taken instead of
    building those of the configuration.

    Raises `BadInputError` with the nearest possible cost when none is within 2 %.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"quantity={quantity!r} must be one of {', '.join(QUANTITIES)}")
    if quantity != "parameters" and batch is None:
        raise ValueError("batch must be given to count operations")
    if not target > 0:
        raise BadInputError(f"target.{quantity}={target} must be above 0")
    config = DictConfig(OmegaConf.to_container(config, resolve=True))
    cost = _costs(config, vocab_size, quantity, None if quantity == "parameters" else batch, encoders)
    step = width_step(config)
    below, above = _neighbours(lambda k: cost(k * step, 1.0), target, WIDEST // step)
    sizes = [(k * step, 1.0) for k in (below, above)]
    if _error(min((cost(*size) for size in sizes), key=lambda c: abs(c - target)), target) > TOLERANCE:
        sizes += [size for width, _ in sizes for size in _expansions(config, width, partial(cost, width), target)]
    width, scale = min(sizes, key=lambda size: abs(cost(*size) - target))
    size = Size(_sized(config, width, scale), cost(width, scale))
    if _error(size.cost, target) > TOLERANCE:
        raise BadInputError(f"target.{quantity}={target:g} cannot be met within {TOLERANCE:.0%}: the nearest is {size}")
    return size


def width_step(config: DictConfig) -> int:
    """What `d_model` must be a multiple of: twice every number of heads of the fusion method and the projector."""
    heads = [*_values(config.fusion, "num_heads"), *_values(config.projector, "num_heads")]
    return 2 * math.lcm(*heads)


def narrowest(config: DictConfig) -> DictConfig:
    """The same configuration with the smallest width that fits all heads: tokens are the same, weights are few."""
    return _sized(config, max(width_step(config), 1), 1.0)


class StandIn(Encoder):
    """An encoder with parameters that count. It is not run, so that what follows it may be on the meta device."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder: Encoder = encoder
        self.d_output, self.example_shape = encoder.d_output, encoder.example_shape

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """That of the encoder."""
        return self.encoder.layout(shape)

    def example_features(self) -> Tensor:
        """Of the right shape."""
        return torch.zeros(1, self.layout(self.example_shape).count, self.d_output)


def _costs(
    config: DictConfig,
    vocab_size: int,
    quantity: str,
    batch: InterleavedBatch | None,
    encoders: Mapping[str, Encoder] | None,
) -> Callable[[int, float], float]:
    """(width, factor of the expansion) -> cost. Encoders are built once, for they have widths of their own."""
    with torch.random.fork_rng(devices=[]):
        encoders = build_encoders(config) if encoders is None else encoders
        stand_ins = {name: StandIn(encoder) for name, encoder in encoders.items()}
        documents = _usages(narrowest(config), vocab_size, encoders, batch) if batch else []

    @cache
    def cost(width: int, scale: float) -> float:
        with torch.device("meta"):
            model = build_model(_sized(config, width, scale), vocab_size, stand_ins)
        if batch is None:
            return parameter_counts(model)["total"]
        by_part = mean([count(model, document) for document in documents], batch.num_samples)
        return by_part["fusion"] if quantity == "fusion_flops" else sum(by_part.values())

    return cost


def _usages(
    config: DictConfig, vocab_size: int, encoders: Mapping[str, Encoder], batch: InterleavedBatch
) -> Sequence[Usage]:
    model = build_model(config, vocab_size, encoders)
    return usages(model, batch)


def _sized(config: DictConfig, width: int, scale: float) -> DictConfig:
    """The same configuration with another width and, if it is resolved already, with its expansion times `scale`."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    config.d_model = width
    for key in (EXPANSION, f"fusion.{EXPANSION}"):
        value = OmegaConf.select(config, key)
        if scale != 1.0 and value is not None:
            OmegaConf.update(config, key, value * scale)
    return config


def _neighbours(cost: Callable[[int], float], target: float, most: int) -> tuple[int, int]:
    """Two numbers from 1 to `most`, one apart, where the target lies between their costs; or twice the nearest end.

    `cost` must grow.
    """
    high = 1
    while high < most and cost(high) < target:
        high = min(2 * high, most)
    low = max(high // 2, 1)
    if cost(high) <= target:
        return high, high
    if cost(low) >= target:
        return low, low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < target else (low, middle)
    return low, high


def _expansions(
    config: DictConfig, width: int, cost: Callable[[float], float], target: float
) -> Iterator[tuple[int, float]]:
    """Factors of the expansion that bring a model of `width` nearest to the target; none if it has no expansion.

    Feed-forward layers round their width to a multiple of 8, which factors of 8 / (expansion * width) step through.
    """
    expansion = OmegaConf.select(config, f"fusion.{EXPANSION}")
    if expansion is None:
        return
    steps = [8 * n / (expansion * width) for n in range(1, int(expansion * width))]
    allowed = [step for step in steps if NARROWEST_EXPANSION <= step <= WIDEST_EXPANSION]
    if allowed:
        indices = _neighbours(lambda k: cost(allowed[k - 1]), target, len(allowed))
        yield from ((width, allowed[index - 1]) for index in indices)


def _error(cost: float, target: float) -> float:
    return abs(cost - target) / target


def _values(node: Any, name: str) -> list[int]:
    """Every value of that name in a part of a configuration."""
    if isinstance(node, DictConfig):
        node = OmegaConf.to_container(node, resolve=True)
    if isinstance(node, dict):
        own = [node[name]] if isinstance(node.get(name), int) else []
        return own + [value for child in node.values() for value in _values(child, name)]
    return [value for child in node for value in _values(child, name)] if isinstance(node, list) else []
