"""One layer of a fusion method, with one set of weights or with a set for each modality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from fusion.cost.active import active_parameters
from fusion.hidden import Hidden, as_hidden, joined
from fusion.mixers.base import Mixer
from fusion.positions.once import Positions
from fusion.sequence import Visibility

WEIGHTS = ("shared", "per_modality")


class Block(nn.Module):
    """x + mixer(norm(x)), then x + feed_forward(norm(x)): tokens see one another, then each is alone.

    `mixer` and `feed_forward` are called with `d_model`, so that no size is written twice. A feed-forward layer is told
    the modality of each token, -1 at padding.
    """

    def __init__(self, d_model: int, mixer: Callable[..., Mixer], feed_forward: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(d_model, eps=1e-6)
        self.mixer: Mixer = mixer(d_model=d_model)
        self.feed_forward_norm = nn.RMSNorm(d_model, eps=1e-6)
        self.feed_forward = feed_forward(d_model=d_model)

    def make_cache(self, batch_size: int, max_length: int) -> Any:
        """An empty cache of this layer."""
        return self.mixer.make_cache(batch_size, max_length)

    def forward(self, x_BLD: Tensor, visibility: Visibility, positions: Positions, cache: Any = None) -> Hidden:
        """Hidden states [B, L, D]."""
        x_BLD = x_BLD + self.mixer(self.mixer_norm(x_BLD), visibility, positions, cache)
        return self.fed_forward(x_BLD, visibility.modality_ids)

    def fed_forward(self, x_BLD: Tensor, modality_ids_BL: Tensor) -> Hidden:
        """x + feed_forward(norm(x)), and what the layer says in addition to it."""
        y_BLD, aux = as_hidden(self.feed_forward(self.feed_forward_norm(x_BLD), modality_ids_BL))
        return Hidden(x_BLD + y_BLD, aux)


class ModalityBlock(nn.Module):
    """A block for each modality, joined only where tokens meet (Mixture-of-Transformers, arXiv:2411.04996).

    Norms, projections and feed-forward layers are those of a token's own modality; what it sees are all tokens of its
    group, whatever projection made their keys. Each set of weights runs on its own tokens only, so a token costs what
    it does in a `Block`. Any mixer will do, for its `meet` has no weights; the paper has attention.
    """

    def __init__(
        self,
        d_model: int,
        num_modalities: int,
        mixer: Callable[..., Mixer],
        feed_forward: Callable[..., nn.Module],
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Block(d_model, mixer, feed_forward) for _ in range(num_modalities))

    def by_modality(self) -> list[Block]:
        """The blocks, by modality id."""
        return [block for block in self.experts if isinstance(block, Block)]

    def active_parameters(self) -> int:
        """Those of one modality, the one that has most."""
        return max(active_parameters(block) for block in self.by_modality())

    def make_cache(self, batch_size: int, max_length: int) -> Any:
        """An empty cache of this layer, for the tokens of all modalities."""
        return self.by_modality()[0].make_cache(batch_size, max_length)

    def forward(
        self,
        x_BLD: Tensor,
        visibility: Visibility,
        positions: Positions,
        cache: Any = None,
        only: int | None = None,
    ) -> Hidden:
        """Hidden states [B, L, D]; zero at padding.

        `visibility` must have its `by_modality`, unless `only` names the modality with the weights that all tokens use.
        """
        if only is not None:
            return self.by_modality()[only](x_BLD, visibility, positions, cache)
        rows, shape = visibility.by_modality, x_BLD.shape[:2]
        assert rows is not None
        blocks = self.by_modality()
        x_parts = rows.fold(x_BLD.flatten(0, 1))
        before = [
            block.mixer.before(block.mixer_norm(x), own)
            for block, x, own in zip(blocks, x_parts, positions.folded(rows), strict=True)
        ]
        together = [rows.unfold(list(parts)).unflatten(0, shape) for parts in zip(*before, strict=True)]
        y_BL = blocks[0].mixer.meet(*together, visibility=visibility, cache=cache)
        results = []
        modality_ids = visibility.modality_ids_by_modality
        for block, x, y, ids in zip(blocks, x_parts, rows.fold(y_BL.flatten(0, 1)), modality_ids, strict=True):
            results.append(block.fed_forward(x + block.mixer.after(y), ids))
        states = rows.unfold([result.states for result in results]).unflatten(0, shape)
        return Hidden(states, joined(result.aux for result in results))


def over_layers(weights: str | Sequence[str], num_layers: int) -> list[str]:
    """The weights of each layer: the same of all, or a list with one for each.

    Raises `ValueError` for a list of another length, and for anything but `WEIGHTS`.
    """
    found = [weights] * num_layers if isinstance(weights, str) else list(weights)
    if any(own not in WEIGHTS for own in found):
        raise ValueError(f"weights={weights!r} must be one of {', '.join(WEIGHTS)}, or a list of these")
    if len(found) != num_layers:
        raise ValueError(f"weights={found} must be one for each of num_layers={num_layers}")
    return found


def layers_of(blocks: nn.ModuleList) -> list[Block | ModalityBlock]:
    """The members of a module list as what they are, which the type of the list does not tell."""
    return [block for block in blocks if isinstance(block, Block | ModalityBlock)]
