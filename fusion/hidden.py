"""What a layer gives: hidden states, and what else it has to say.

Shape legend: M modalities, X experts (or whatever else is counted).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Aux(NamedTuple):
    """Auxiliary losses and counts of a forward pass.

    It is returned, never kept on a module: what is kept is counted again when activations are recomputed, and has no
    gradient where parameters are sharded.

    losses: name -> scalar with gradient, already weighted. Those of all layers are added up, and are added to the loss
    of each term of the objective. counts: name -> numbers without gradient [M, X], such as tokens of a modality that an
    expert got.
    """

    losses: Mapping[str, Tensor]
    counts: Mapping[str, Tensor]


class Hidden(NamedTuple):
    """Hidden states [..., D], and what the layers said; None: nothing.

    A tuple, so that FSDP2 and torch.compile find the tensors in it.
    """

    states: Tensor
    aux: Aux | None = None


def as_hidden(x: Tensor | tuple[Tensor, Aux | None]) -> Hidden:
    """What a layer returned, who may leave `aux` out."""
    return Hidden(x) if isinstance(x, Tensor) else Hidden(*x)


def of_layer(aux: Aux | None, layer: str) -> Aux | None:
    """The same with the name of the layer after that of each count: `experts/layer_1`."""
    return None if aux is None else Aux(aux.losses, {f"{name}/{layer}": count for name, count in aux.counts.items()})


def joined(parts: Iterable[Aux | None]) -> Aux | None:
    """Losses and counts of several calls; those of one name are added."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return Aux(_added(part.losses for part in known), _added(part.counts for part in known))


def _added(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {}
    for part in parts:
        for name, value in part.items():
            found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else torch.stack(values).sum(0) for name, values in found.items()}
