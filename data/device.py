"""The devices of this machine."""

from __future__ import annotations

import os
from typing import Annotated

import torch
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

AUTO, CPU = "auto", "cpu"


def choose_device(name: str) -> torch.device:
    """`auto` is the accelerator of this machine, else the CPU. Raises `ValueError` for one that it does not have."""
    if name == AUTO:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device(CPU)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError):
        device = None
    if device is None or device.type not in _types():
        raise ValueError(f"device={name} is not there; this machine has {', '.join(_types())}")
    return device


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _types() -> list[str]:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return [CPU, *([accelerator.type] if accelerator else [])]


def _on_this_machine(name: str) -> str:
    try:
        choose_device(name)
    except ValueError:
        here = " or ".join(_types())
        raise PydanticCustomError("device", f"must be auto or {here}, which this machine has") from None
    return name


# The name of a device, for signatures: a configuration that names another one is refused before anything is made.
Device = Annotated[str, AfterValidator(_on_this_machine)]
