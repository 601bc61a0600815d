"""Where convolutions must not run in bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision_on_cpu(x: Tensor) -> AbstractContextManager[object]:
    """Without autocast where `x` lies on a CPU.

    There the backward pass of a convolution in bfloat16 leaves parts of its result unwritten (oneDNN in torch 2.14, on
    a processor without AMX), so that a gradient is NaN now and then.
    """
    return torch.autocast("cpu", enabled=False) if x.device.type == "cpu" else nullcontext()
