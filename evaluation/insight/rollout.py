"""What reaches one position of a sequence: by the attention of each layer alone, and through all of them.

Shape legend: F tokens of the flattened batch, N items (positions), G groups, H heads, Q queries, J keys or candidates
(keys).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusion.attention_maps import AttentionMap


def attention_by_layer(maps: Sequence[AttentionMap], position: int, num_tokens: int) -> dict[str, Tensor]:
    """Layer -> [F]: what the token at `position` gives to each token of the sequence, averaged over heads."""
    found: dict[str, Tensor] = {}
    for part in maps:
        asks_GQ = part.queries == position
        given_GJ = (part.weights.float().mean(1) * asks_GQ[..., None]).sum(1)
        given_F = given_GJ.new_zeros(num_tokens + 1)  # the last one is for tokens that are not of the sequence
        given_F.index_add_(0, part.keys.clamp(max=num_tokens).flatten(), given_GJ.flatten())
        found[part.layer] = found.get(part.layer, 0) + given_F[:-1]
    return found


def rollout(maps: Sequence[AttentionMap], positions_N: Tensor, num_tokens: int) -> Tensor:
    """[F]: the share of each token of the sequence in what reaches the positions, which are of different documents.

    Attention rollout (Abnar and Zuidema, arXiv:2005.00928): weights averaged over heads, half of what leaves a layer
    taken to be its residual connection, multiplied through the layers. It is followed from the positions back to the
    tokens, call by call. So it also holds where a layer updates some tokens only, or lets them see others through
    tokens that the method adds. What is due to those themselves is left out. It knows nothing of values, gates and
    feed-forward layers.
    """
    largest = max([num_tokens, *(int(part.keys.max()) for part in maps)])
    share = torch.zeros(largest + 1, device=positions_N.device)
    share[positions_N] = 1.0
    for part in reversed(maps):
        weights_GQJ = part.weights.float().mean(1)
        # What sees nothing, as padding, passes nothing on and keeps all of it.
        passed_GQ = 0.5 * share[part.queries] * weights_GQJ.sum(-1)
        share.index_add_(0, part.queries.flatten(), -passed_GQ.flatten())
        share.index_add_(0, part.keys.flatten(), (passed_GQ[:, None] @ weights_GQJ).flatten())
    return share[:num_tokens]
