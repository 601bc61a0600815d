"""Data moves one way: no package imports one that comes after it, at the top of a file or inside a function."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# What each package may import besides itself and libraries; a dotted name allows that module only.
ALLOWED = {
    "data": (),
    "encoders": ("data.types", "data.configuration.locate"),
    "fusion": ("encoders", "data.types", "data.instantiate"),
    "training": ("fusion", "data"),
    "evaluation": ("fusion", "data"),
    "serving": ("fusion", "data"),
    "certify": ("training", "evaluation", "fusion", "encoders", "data"),
    "bakeoff": ("training", "evaluation", "fusion", "data"),
    "conf": (),
    "scripts": ("data", "encoders", "fusion", "training", "evaluation", "serving", "certify", "bakeoff", "conf"),
    "interfuse": ("data", "encoders", "fusion", "training", "evaluation", "serving", "certify", "bakeoff", "scripts"),
}
OURS = {*ALLOWED, "tests"}


def imported(source: str, module: str, is_package: bool = False) -> list[str]:
    """Dotted names that a module imports anywhere in it; `from a import b` counts as a.b."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                start = ".".join(parts)
            base = ".".join(part for part in (start, node.module) if part)
            found += [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            found += [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
    return found


def forbidden(source: str, module: str, is_package: bool = False) -> list[str]:
    """Imports of a module that its package's row does not allow."""
    package = module.split(".")[0]
    allowed = (package, *ALLOWED[package])
    ours = [name for name in imported(source, module, is_package) if name.split(".")[0] in OURS]
    return [name for name in ours if not any(name == item or name.startswith(item + ".") for item in allowed)]


@pytest.mark.parametrize("package", ALLOWED)
def test_no_arrow_points_back(package: str) -> None:
    wrong = []
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        is_package = path.name == "__init__.py"
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        module = ".".join(parts[:-1] if is_package else parts)
        wrong += [f"{module} imports {name}" for name in forbidden(path.read_text("utf-8"), module, is_package)]
    assert not wrong, "; ".join(wrong) + f"; {package} may import {', '.join(ALLOWED[package]) or 'libraries only'}"


# Libraries that take seconds to import, and that few configurations name.
LATE = {"transformers", "timm", "wandb", "trackio"}


def at_the_top(source: str) -> set[str]:
    """The libraries that importing a module imports."""
    body = ast.Module([node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    return {name.split(".")[0] for name in imported(ast.unparse(body), "module")}


def test_slow_libraries_are_imported_where_they_are_needed() -> None:
    files = [path for package in ALLOWED for path in (REPOSITORY / package).rglob("*.py")]
    found = {path.name: at_the_top(path.read_text("utf-8")) & LATE for path in files}
    assert {name: libraries for name, libraries in found.items() if libraries} == {}
    assert at_the_top("import os\nfrom timm.data import x\ndef f():\n    import wandb") == {"os", "timm"}


def test_every_package_has_a_row() -> None:
    packages = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}
    assert packages == OURS


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("import fusion.model", "data.batching.loader", ["fusion.model"]),
        ("def f():\n    from training import trainer", "evaluation.reports.report", ["training.trainer"]),
        ("from data import batching, types", "fusion.model", ["data.batching"]),
        ("from data.types import Sample", "encoders.scratch.image", []),
        ("from ...training import trainer", "fusion.mixers.attention", ["training.trainer"]),
        ("from . import block\nfrom .mixers import base", "fusion.model", []),
        ("import importlib\nimportlib.import_module('scripts.train')", "training.trainer", ["scripts.train"]),
        ("import database, torch.utils.data", "encoders.text", []),
        ("from tests.fusion import builders", "certify.suite", ["tests.fusion.builders"]),
    ],
)
def test_the_walk_finds_every_form(source: str, module: str, expected: list[str]) -> None:
    assert forbidden(source, module) == expected
