"""Weights from a file into a model of another library."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` or torch file, by name; nothing but tensors is unpickled.

    Raises `ValueError` for a file that is not one.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path}: not a readable file of weights ({str(error).splitlines()[0]})") from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path}: holds no weights by name")
    return dict(content)


def load_weights(model: nn.Module, path: Path) -> None:
    """Gives `model` the weights of a file: by name, or by position where all names differ but all shapes agree.

    Raises `ValueError` naming the first tensor that does not fit.
    """
    weights, expected = read_weights(path), model.state_dict()
    if not weights.keys() & expected.keys() and len(weights) == len(expected):
        # Another author's names for the same architecture; both are in the order of the layers.
        weights = dict(zip(expected, weights.values(), strict=True))
    if (found := mismatch(expected, weights)) is not None:
        name, here, there = found
        raise ValueError(f"{path}: of another architecture: {name} is {there} there and {here} in the model")
    model.load_state_dict(weights)


def mismatch(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> tuple[str, str, str] | None:
    """The first tensor that differs in shape, or is in one only: its name, and how it is expected and found."""

    def shape(tensors: Mapping[str, Tensor], name: str) -> str:
        return str(list(tensors[name].shape)) if name in tensors else "missing"

    for name in dict.fromkeys([*expected, *weights]):
        if (here := shape(expected, name)) != (there := shape(weights, name)):
            return name, here, there
    return None
