"""What every fusion method offers.

Shape legend: B rows, L tokens, D `d_model`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from fusion.block import Block
from fusion.mixers.base import Mixer
from fusion.sequence import EmbeddedSequence, Visibility


class FusionMethod(nn.Module):
    """A stack of blocks; a method decides, layer by layer, which tokens may see one another.

        EmbeddedSequence -> block 0 .. block n-1, each with the groups of its layer -> hidden states [B, L, D]

    A subclass defines `groups`. Everything else (embedding, positions, heads, packing, the objective) is shared,
    so that methods differ in the method alone.
    """

    def __init__(
        self,
        d_model: int,
        num_layers: int,
        mixer: Callable[..., Mixer],
        feed_forward: Callable[..., nn.Module],
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers={num_layers} must be 1 or more")
        self.blocks = nn.ModuleList(Block(d_model, mixer, feed_forward) for _ in range(num_layers))

    def layers(self) -> list[Block]:
        """The blocks, in order."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def groups(self, layer: int, sequence: EmbeddedSequence) -> Tensor:
        """Group ids [B, L] of `layer`: tokens see one another only where these are equal; -1 is padding."""
        raise NotImplementedError(f"{type(self).__name__} must define groups")

    def visibilities(self, sequence: EmbeddedSequence) -> list[Visibility]:
        """One `Visibility` per layer; layers with the same groups share one, so that it is laid out once."""
        shared: list[Visibility] = []
        result = []
        for layer in range(len(self.blocks)):
            groups = self.groups(layer, sequence)
            known = next((item for item in shared if item.group_ids is groups), None)
            if known is None:
                known = Visibility(groups)
                shared.append(known)
            result.append(known)
        return result

    def make_cache(self, batch_size: int, max_length: int) -> list[Any]:
        """An empty cache, one entry a layer."""
        return [block.mixer.make_cache(batch_size, max_length) for block in self.layers()]

    def forward(self, sequence: EmbeddedSequence, cache: list[Any] | None = None) -> Tensor:
        """Hidden states [B, L, D], before the model's final normalisation."""
        hidden = sequence.hidden
        caches = cache or [None] * len(self.blocks)
        for block, visibility, layer_cache in zip(self.layers(), self.visibilities(sequence), caches, strict=True):
            hidden = block(hidden, visibility, sequence.positions, layer_cache)
        return hidden
