"""What every mixer offers: the part of a block where tokens see one another.

Shape legend: B rows of a batch, L tokens in a row, D `d_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from fusion.generation.cache import Cache
from fusion.positions.once import Positions
from fusion.sequence import Visibility

# What makes a mixer, called with `d_model`.
MakeMixer = Callable[..., "Mixer"]


class Mixer(nn.Module):
    """Base class. A mixer must not let a token be influenced by another group, by padding, or by the future.

        x [B, L, D] --before--> parts, [B, L, ..] each --meet--> y [B, L, ..] --after--> [B, L, D]

    `before` and `after` take each token alone; only in `meet` do tokens see one another. So weights per modality
    (`ModalityBlock`) work for every mixer: each modality has a `before` and an `after` of its own, and all tokens meet
    in one `meet`. So `meet` must have no weights. What it needs of weights (a decay, a gate) is a part that `before`
    makes for each token. Where it multiplies, it calls a module that does so, as `SelfAttention` calls its
    `GroupAttention`: operations are counted by calls of modules (see `fusion/cost/products.py`).

    A mixer (or any other module) that computes the same in several ways names them in `implementations`, the slow
    reference first, and reads its attribute `implementation`; certification compares them all.

    sees_both_ways: whether it heeds the `segment_ids` of a `Visibility`: the tokens of one segment then see those that
    come after them too. One that runs from left to right only cannot, and is refused by `bidirectional_media`.
    """

    implementations: tuple[str, ...] = ()
    sees_both_ways: bool = False

    def make_cache(self, batch_size: int, max_length: int) -> Cache:
        """An empty cache of this layer for cached decoding, of `max_length` tokens a row; see
        `fusion.generation.cache.Cache`."""
        raise NotImplementedError(f"{type(self).__name__} must define make_cache")

    def before(self, x_BLD: Tensor, positions: Positions) -> tuple[Tensor, ...]:
        """What `meet` needs of each token, [B, L, ..] each; a token sees no other here."""
        raise NotImplementedError(f"{type(self).__name__} must define before")

    def meet(self, *parts: Tensor, visibility: Visibility, cache: Any = None) -> Tensor:
        """What each token sees, [B, L, ..]; with a `cache`, tokens that it already holds are seen too.

        Then the result is that of `cache.attend`, which updates it. Padding may come out as anything that is finite.
        """
        raise NotImplementedError(f"{type(self).__name__} must define meet")

    def after(self, y: Tensor) -> Tensor:
        """Mixed tokens [B, L, D] of what each has seen; a token sees no other here."""
        raise NotImplementedError(f"{type(self).__name__} must define after")

    def forward(self, x_BLD: Tensor, visibility: Visibility, positions: Positions, cache: Any = None) -> Tensor:
        """Mixed tokens [B, L, D], by the three steps."""
        return self.after(self.meet(*self.before(x_BLD, positions), visibility=visibility, cache=cache))


def over_layers(mixer: MakeMixer | Sequence[MakeMixer], num_layers: int) -> list[MakeMixer]:
    """The mixer of each layer: the one that is given, or a list that starts again when it ends.

    Layer i has number `i % len(mixer)` of the list. Raises `ValueError` for a list that is empty.
    """
    mixers = list(mixer) if isinstance(mixer, Sequence) else [mixer]
    if not mixers:
        raise ValueError("mixer=[] must be a mixer, or a list of one or more that is repeated over the layers")
    return [mixers[layer % len(mixers)] for layer in range(num_layers)]


def refuse_unused(mixer: MakeMixer | Sequence[MakeMixer], num_layers: int) -> None:
    """Raises `ValueError` for a list of mixers that is longer than the layers: its last ones would be nowhere."""
    if isinstance(mixer, Sequence) and len(mixer) > num_layers:
        raise ValueError(
            f"mixer is a list of {len(mixer)} for num_layers={num_layers}: it is repeated over the layers, and must "
            "not be longer than they are"
        )
