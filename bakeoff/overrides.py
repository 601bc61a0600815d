"""The options that all runs of a bake-off share, as the command line of train.py takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data.configuration.overrides import MANIFESTS, quoted


def flattened(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """NAME=VALUE for every value in nested options; texts are quoted but for those of `MANIFESTS`."""
    for key, value in options.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{name}.")
        else:
            yield f"{name}={value if name in MANIFESTS and value is not None else _written(value)}"


def composable(overrides: Sequence[str]) -> list[str]:
    """The same overrides for Hydra itself, which takes nothing literally."""
    found = []
    for override in overrides:
        name, _, value = override.partition("=")
        found.append(f"{name}={quoted(value)}" if name in MANIFESTS and value != "null" else override)
    return found


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_written(str(key))}:{_written(item)}' for key, item in value.items())}}}"
    if isinstance(value, Sequence):
        return f"[{','.join(map(_written, value))}]"
    return str(value)
