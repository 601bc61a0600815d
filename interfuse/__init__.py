"""Interfuse from Python: train a model, evaluate it, ask it.

    import interfuse

    run = interfuse.train(["experiment=easy_vqa_quick"])
    model = interfuse.load(run)
    print(model.answer(image="shape.png", text="what color is the circle?"))

Options are those of the commands in `scripts/`, and do the same. What a person gave and cannot be used is a
`BadInputError`, which says in one line what and where.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data.types import BadInputError
    from evaluation.insight.explanation import Explanation
    from evaluation.reports.report import print_table
    from evaluation.run import Evaluated
    from interfuse.model import Model, load
    from interfuse.runs import Run, check, evaluate, train

__all__ = [
    "BadInputError",
    "Evaluated",
    "Explanation",
    "Model",
    "Run",
    "check",
    "evaluate",
    "load",
    "print_table",
    "train",
]
# Where each name is. Nothing is loaded before it is asked for, since torch alone takes seconds.
_MODULES = {
    "BadInputError": "data.types",
    "Evaluated": "evaluation.run",
    "Explanation": "evaluation.insight.explanation",
    "Model": "interfuse.model",
    "Run": "interfuse.runs",
    "check": "interfuse.runs",
    "evaluate": "interfuse.runs",
    "load": "interfuse.model",
    "print_table": "evaluation.reports.report",
    "train": "interfuse.runs",
}
_HOME = Path(__file__).resolve().parents[1]
# Packages of this project with names that a person's own files may have too.
_COMMON_NAMES = ("conf", "data", "encoders", "evaluation", "fusion", "scripts", "serving", "training")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _own_packages_first()
    found = getattr(import_module(_MODULES[name]), name)
    globals()[name] = found  # the next time it is found at once
    return found


def __dir__() -> list[str]:
    return __all__


def _own_packages_first() -> None:
    """Lets no `data.py` next to a notebook hide a package of this project.

    Raises `ImportError` if one was imported already.
    """
    for name in _COMMON_NAMES:
        place = getattr(sys.modules.get(name), "__file__", None)
        if place is not None and _HOME not in Path(place).resolve().parents:
            raise ImportError(f"{place}: was imported as {name!r}, a package of interfuse; give it another name")
    sys.path.insert(0, str(_HOME))  # before a `scripts` that lies on the path
    import_module("scripts.entry")
