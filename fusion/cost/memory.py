"""A model that does not fit is refused while it is made, before the system ends the process."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

FACTORIES = {"empty", "zeros", "ones", "full", "randn", "rand", "arange", "linspace", "eye"}


def physical_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class WithinMemory(TorchDispatchMode):
    """Raises `MemoryError` when the tensors that are made inside, all together, are larger than the memory.

    A system that promises more memory than it has would otherwise end the process at the first write.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.left = physical_memory() if limit is None else limit

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Counts what a function makes from nothing before it makes it."""
        kwargs = kwargs or {}
        size = args[0] if args else None
        if func.overloadpacket.__name__ in FACTORIES and isinstance(size, list | tuple) and not _on_meta(kwargs):
            item = (kwargs.get("dtype") or torch.get_default_dtype()).itemsize
            self.left -= math.prod(size) * item
            if self.left < 0:
                raise MemoryError(f"a tensor of {'x'.join(map(str, size))} is more than the memory that is left")
        return func(*args, **kwargs)


def _on_meta(kwargs: Mapping[str, Any]) -> bool:
    device = kwargs.get("device")
    return device is not None and torch.device(device).type == "meta"
