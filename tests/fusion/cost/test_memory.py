"""What does not fit is refused before it is made."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fusion.cost.memory import WithinMemory

KILOBYTES = 1000


@pytest.mark.parametrize("make", [lambda: torch.empty(300), lambda: torch.randn(10, 30), lambda: nn.Linear(10, 30)])
def test_what_is_made_inside_is_counted_together(make) -> None:
    with WithinMemory(4 * KILOBYTES):
        for _ in range(3):
            make()
        with pytest.raises(MemoryError, match="more than the memory that is left"):
            make()


def test_sizes_without_memory_cost_nothing_and_results_stay_the_same() -> None:
    with WithinMemory(0), torch.device("meta"):
        assert nn.Linear(1000, 1000).weight.is_meta
    torch.manual_seed(0)
    expected = nn.Linear(4, 4).weight
    torch.manual_seed(0)
    with WithinMemory():
        assert torch.equal(nn.Linear(4, 4).weight, expected)
