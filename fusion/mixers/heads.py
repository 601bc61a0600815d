"""The weights of attention: tokens to queries, keys and values, and back.

Shape legend: B rows of a batch, H heads, L tokens in a row, J keys or candidates (keys), K `head_dim`, D `d_model`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from fusion.positions.rope import Rope


class AttentionHeads(nn.Module):
    """`num_heads / num_kv_heads` query heads share keys and values (GQA, arXiv:2305.13245).

    Queries and keys are normalised per head (`qk_norm`, as in Qwen 3), then rotated by `position`. The output
    projection is zero at first, so that a layer starts as the identity.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int,
        position: Callable[..., Rope],
        head_dim: int | None = None,
        qk_norm: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("num_heads", num_heads), ("num_kv_heads", num_kv_heads), ("head_dim", head_dim)):
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be 1 or more")
        head_dim = head_dim or d_model // num_heads
        if head_dim * num_heads != d_model and d_model % num_heads:
            raise ValueError(f"num_heads={num_heads} must divide d_model={d_model}, or head_dim must be given")
        if num_heads % num_kv_heads:
            raise ValueError(f"num_kv_heads={num_kv_heads} must divide num_heads={num_heads}")
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, head_dim
        self.q = nn.Linear(d_model, num_heads * head_dim, bias=False)
        self.k = nn.Linear(d_model, num_kv_heads * head_dim, bias=False)
        self.v = nn.Linear(d_model, num_kv_heads * head_dim, bias=False)
        self.out = nn.Linear(num_heads * head_dim, d_model, bias=False)
        nn.init.zeros_(self.out.weight)
        self.q_norm = nn.RMSNorm(head_dim, eps=1e-6) if qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(head_dim, eps=1e-6) if qk_norm else nn.Identity()
        self.position: Rope = position(head_dim=head_dim)

    def queries(self, x_BLD: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """[B, H, L, K]; `rotation` is that of the positions."""
        return self.position(self.q_norm(self._split(self.q(x_BLD))), rotation)

    def keys_and_values(self, x_BLD: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Two of [B, `num_kv_heads`, L, K]."""
        return self.position(self.k_norm(self._split(self.k(x_BLD))), rotation), self._split(self.v(x_BLD))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
