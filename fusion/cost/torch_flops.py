"""Operations as torch counts them while it runs, and who computes what torch would count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from data.types import BadInputError

# Products that torch counts as nothing.
UNCOUNTED = {
    *("mv", "addmv", "dot", "vdot", "addbmm", "_trilinear", "_int_mm", "_grouped_mm", "_cdist_forward"),
    *("mkldnn_rnn_layer", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "_cudnn_rnn"),
    *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_fused_attention_overrideable"),
    *("_native_multi_head_attention", "_transformer_encoder_layer_fwd"),
}


@torch.no_grad()
def torch_count(module: nn.Module, run: Callable[[], Any]) -> int:
    """Operations of `run`, which runs `module` or a part of it, as torch's `FlopCounterMode` counts them.

    Attention, encoder layers and recurrent layers are written out, because it takes the fused ones of the CPU for
    nothing. No parameter asks for a gradient, because without gradients it fails at those that do.

    Raises `BadInputError` for a product that it does not count.
    """
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        with _written_out(), FlopCounterMode(display=False) as counter, Uncounted(module):
            run()
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
    return int(counter.get_total_flops())


def torch_counts(module: nn.Module, run: Callable[[], Tensor]) -> tuple[int, int]:
    """Operations of the forward pass and of the backward pass of `run`, likewise; gradients stay as they were."""
    before = [(parameter, parameter.grad) for parameter in module.parameters()]
    for parameter, _ in before:
        parameter.grad = None
    try:
        with torch.enable_grad(), _written_out(), FlopCounterMode(display=False) as counter, Uncounted(module):
            result = run()
            forward = int(counter.get_total_flops())
            if result.requires_grad:
                result.sum().backward()
    finally:
        for parameter, gradient in before:
            parameter.grad = gradient
    return forward, int(counter.get_total_flops()) - forward


@contextmanager
def _written_out() -> Iterator[None]:
    """Without the fused layers of the CPU."""
    enabled = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled[0])
        torch.backends.mkldnn.enabled = enabled[1]


class Uncounted(TorchDispatchMode):
    """Refuses what multiplies and is not counted by torch."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.name = type(module).__name__

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """`func` as it is."""
        if name_of(func) in UNCOUNTED:
            raise BadInputError(f"{self.name}: torch does not count the operations of {name_of(func)}")
        return func(*args, **(kwargs or {}))


class Multiplying(TorchDispatchMode):
    """Notes which modules multiply by themselves, while the forward passes of a model run.

    `found` has the name of the innermost module, and of the first operation.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._inside = [""]
        self._handles: list[Any] = []
        for name, module in model.named_modules():
            if name:
                self._handles.append(module.register_forward_pre_hook(self._enter(name)))
                self._handles.append(module.register_forward_hook(self._leave, always_call=True))

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda module, inputs: self._inside.append(name)

    def _leave(self, *call: Any) -> None:
        self._inside.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """`func` as it is."""
        if name_of(func) in UNCOUNTED or getattr(func, "_overloadpacket", None) in flop_registry:
            self.found.setdefault(self._inside[-1], name_of(func))
        return func(*args, **(kwargs or {}))


def name_of(func: Any) -> str:
    """Of an operation, `bmm` for instance."""
    return getattr(getattr(func, "_overloadpacket", func), "__name__", str(func))
