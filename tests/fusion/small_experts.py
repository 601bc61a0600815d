"""A small mixture of experts: what it says of its cost, its size and its optimizer, against what is true."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fusion.hidden import Aux, Hidden


class SmallExperts(nn.Module):
    """Every token goes to the one expert whose score is highest; padding to none."""

    def __init__(self, d_model: int, num_modalities: int, num_experts: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(d_model, num_experts, bias=False)
        self.expert_weight = nn.Parameter(torch.randn(num_experts, d_model, d_model) * d_model**-0.5)
        self.num_modalities = num_modalities

    def forward(self, x_BLD: Tensor, modality_ids_BL: Tensor) -> Hidden:
        routed = modality_ids_BL >= 0
        tokens_ND, modalities_N = x_BLD[routed], modality_ids_BL[routed]
        probabilities_NE = self.router(tokens_ND).softmax(-1)
        score_N, expert_N = probabilities_NE.max(-1)
        y_ND = torch.zeros_like(tokens_ND)
        for expert, weight in enumerate(self.expert_weight.unbind()):
            chosen = (expert_N == expert).nonzero()[:, 0]
            y_ND = y_ND.index_add(0, chosen, (tokens_ND[chosen] @ weight.T) * score_N[chosen, None])
        num_experts = len(self.expert_weight)
        choices_NE = nn.functional.one_hot(expert_N, num_experts)
        counts_ME = torch.zeros(self.num_modalities, num_experts, dtype=torch.long, device=x_BLD.device)
        counts_ME = counts_ME.index_add(0, modalities_N, choices_NE)
        share_E = choices_NE.sum(0) / max(len(tokens_ND), 1)
        balance = 0.01 * num_experts * (share_E * probabilities_NE.sum(0) / max(len(tokens_ND), 1)).sum()
        return Hidden(
            torch.zeros_like(x_BLD).masked_scatter(routed[..., None], y_ND),
            Aux({"balance": balance}, {"experts": counts_ME}),
        )

    def active_parameters(self) -> int:
        return self.router.weight.numel() + self.expert_weight[0].numel()

    def adamw_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.router.parameters()


class CountedExperts(SmallExperts):
    """The same, and says what its experts multiply."""

    def forward(self, x_BLD: Tensor, modality_ids_BL: Tensor) -> Hidden:
        return super().forward(x_BLD, modality_ids_BL)

    def flops(self, x_BLD: Tensor, modality_ids_BL: Tensor) -> int:
        return 2 * int((modality_ids_BL >= 0).sum()) * self.expert_weight[0].numel()
