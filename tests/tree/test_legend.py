"""Letters of shapes: one legend for the project (`docs/architecture.md`), one meaning a letter."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.tree.test_tree import PYTHON, REPOSITORY, name

SECTION = "## Letters of shapes"
ROW = re.compile(r"^\| `(\w)` \| (.+?) \|$", re.MULTILINE)
LEGEND = re.compile(r"^Shape legend: (.*?)\.$", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"(\w) ([^,()]+?)(?: \(([^()]*)\))?(?:, |$)")
# A name with letters at its end: `x_BLD`, `features_1TC`; constants are written in capitals.
LETTERS = re.compile(r"_?[a-z]\w*_((?=\w*[A-Z])[A-Za-z0-9]+)$")
# Weights with letters of an older legend: checkpoints hold their names.
WEIGHTS = {"queries_MD", "bottlenecks_KD", "lora_a_RI", "lora_b_OR"}
# What a tensor with any axes before its last ones is called, and what only lends its precision and device.
ANY_SHAPE = {"x", "y", "value", "values", "hidden", "sums", "parameter", "gradient", "grad", "like", "example", "_"}


def project_legend() -> dict[str, str]:
    """Letter -> meaning."""
    page = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
    return dict(ROW.findall(page.partition(SECTION)[2].partition("\n## ")[0]))


def legend(source: str) -> list[tuple[str, str, str]]:
    """Letter, meaning and what that is here, of every entry of a file's legend; nothing where it has none."""
    found = LEGEND.search(ast.get_docstring(ast.parse(source)) or "")
    return ENTRY.findall(" ".join(found.group(1).split())) if found else []


WITH_LEGEND = [path for path in PYTHON if legend(path.read_text("utf-8"))]


def test_the_legend_is_read() -> None:
    letters = project_legend()
    assert letters["D"] == "`d_model`"
    assert len(letters) > 20
    assert len(WITH_LEGEND) > 60
    assert len(set(letters.values())) == len(letters), "two letters of one meaning"


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_a_letter_means_the_same_in_every_file(path: Path) -> None:
    source = path.read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    known = project_legend()
    assert {letter: meaning for letter, meaning, _ in legend(source) if known.get(letter) != meaning} == {}
    assert ("Shape legend" in docstring) == bool(legend(source)), "a legend ends with a full stop and the line"


def names_of(source: str) -> set[str]:
    """Names of variables, parameters and attributes."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found


@pytest.mark.parametrize("path", WITH_LEGEND, ids=name)
def test_names_use_letters_of_the_legend(path: Path) -> None:
    source = path.read_text("utf-8")
    declared = {letter for letter, _, _ in legend(source)}
    named = names_of(source) - WEIGHTS
    used = {found: set(match.group(1)) for found in named if (match := LETTERS.match(found))}
    wrong = {found: letters - declared for found, letters in used.items()}
    assert {
        found: missing for found, letters in wrong.items() if (missing := {c for c in letters if c.isalpha()})
    } == {}


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    """Functions and methods; what lies in a function is called by that alone, or by a library that names arguments."""
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if node is not function
    }
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and id(node) not in inner]


@pytest.mark.parametrize("path", WITH_LEGEND, ids=name)
def test_tensors_carry_letters(path: Path) -> None:
    """Every parameter that is a tensor says its shape, but for tensors of any shape."""
    source = path.read_text("utf-8")
    declared = {letter for letter, _, _ in legend(source)} | set("0123456789")
    bare = []
    for function in functions(ast.parse(source)):
        for argument in (*function.args.args, *function.args.kwonlyargs):
            kind = ast.unparse(argument.annotation).partition(" | ")[0] if argument.annotation else ""
            letters = argument.arg.rpartition("_")[2]
            said = "_" in argument.arg and letters and set(letters) <= declared
            if kind in ("Tensor", "torch.Tensor", "np.ndarray") and not said and argument.arg not in ANY_SHAPE:
                bare.append(f"{function.name}({argument.arg})")
    assert bare == []
