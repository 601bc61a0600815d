"""The pages of the documentation: links lead somewhere, words are plain, tables agree with their JSON."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from pathlib import Path
from typing import Any

import pytest

from tests.pages.examples import BLOCK, INDENTED, INLINE, LINK, REPOSITORY, anchors, links, read
from tests.tree.test_tree import PACKAGES, name, tracked

PAGES = tuple(
    path.relative_to(REPOSITORY).as_posix()
    for path in sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
)
# Words and turns of phrase that those who learned English late stumble over.
BOOKISH = re.compile(
    r"\b(whose|beside|besides|behind|of which|thereof|therein|whereof|wherein|whereby|hitherto"
    r"|only then (?:is|are|does|do|can|may)|nor (?:is|are|does|do|has|have|can))\b",
    re.IGNORECASE,
)
# The words among them that docstrings and comments do without, too.
BOOKISH_IN_CODE = re.compile(r"\b(whose|beside|besides|behind|thereof|wherein|whereby)\b", re.IGNORECASE)
YAML_COMMENT = re.compile(r"(?:^|\s)#(.*)")
CODE = [path for path in tracked("*.py", "*.yaml") if path.relative_to(REPOSITORY).parts[0] in {*PACKAGES} - {"tests"}]
RESULTS = "docs/results/"
SEEDS = (0, 1, 2)
TASKS = ("easy_vqa/typed", "easy_vqa/spoken", "easy_vqa/spoken_piper")


def prose(page: str) -> str:
    """The sentences of a page: without code, without where links lead, and of raw results without tables."""
    text = INDENTED.sub("\n", BLOCK.sub("\n", read(page)))
    text = INLINE.sub("", LINK.sub(lambda link: link[0].partition("](")[0], text))
    return re.sub(r"^\|.*$", "", text, flags=re.MULTILINE) if page.startswith(RESULTS) else text


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    found, todo = {"README.md"}, ["README.md"]
    while todo:
        page = todo.pop()
        for link in links(page):
            path = ((REPOSITORY / page).parent / link.partition("#")[0]).resolve()
            name = path.relative_to(REPOSITORY).as_posix()
            if name in PAGES and name not in found:
                found.add(name)
                todo.append(name)
    assert set(PAGES) - found == set()


@pytest.mark.parametrize("page", PAGES)
def test_words_are_plain(page: str) -> None:
    assert [" ".join(found[0].split()) for found in BOOKISH.finditer(re.sub(r"\s+", " ", prose(page)))] == []


def test_bookish_words_are_found_in_sentences_and_not_in_code() -> None:
    sentence = "A model whose head is tied. Only then is it saved, nor is it lost; parts, most of\nwhich stay."
    assert len(BOOKISH.findall(re.sub(r"\s+", " ", sentence))) == 4
    assert not BOOKISH.search("The sides of witches, and beneath behindhand")


def remarks(path: Path) -> list[str]:
    """The docstrings and comments of a Python file, or the comments of a YAML file, without what is in backticks."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        comments = [found[1] for line in text.splitlines() if (found := YAML_COMMENT.search(line))]
        return [INLINE.sub("", comment) for comment in comments]
    docstrings = [
        node.value.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    return [INLINE.sub("", remark) for remark in (*docstrings, *comments)]


def bookish(path: Path) -> list[str]:
    return [remark.strip() for remark in remarks(path) if BOOKISH_IN_CODE.search(remark)]


@pytest.mark.parametrize("path", CODE, ids=name)
def test_docstrings_and_comments_are_plain(path: Path) -> None:
    assert bookish(path) == []


def test_bookish_words_are_found_in_docstrings_and_comments_and_not_in_code(tmp_path: Path) -> None:
    python, yaml = tmp_path / "a.py", tmp_path / "a.yaml"
    python.write_text('''def f(beside: str = "behind") -> None:
    """A model whose head is tied; `beside` is a name."""  # Beside the point
    print("whose")
''')
    yaml.write_text("path: besides # wherein it lies\nbehind: a#whose\n")
    assert len(remarks(python)) == len(bookish(python)) == 2
    assert len(bookish(yaml)) == 1
    assert {path.suffix for path in CODE} == {".py", ".yaml"}


def test_the_readme_is_short() -> None:
    assert len(read("README.md").split()) <= 1000


def test_python_of_the_readme_uses_what_is_there() -> None:
    """Every `interfuse.NAME` of the README is a name of the module."""
    blocks = [content for language, content in BLOCK.findall(read("README.md")) if language == "python"]
    used = {
        node.attr
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "interfuse"
    }
    assert {"load", "train", "evaluate"} <= used
    module = pytest.importorskip("interfuse")
    assert [name for name in sorted(used) if not hasattr(module, name)] == []


def rows(page: str) -> list[list[str]]:
    """The cells of all tables of a page, without marks of emphasis."""
    lines = [line for line in read(page).splitlines() if line.startswith("|")]
    return [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]


def seed_report(seed: int) -> Any:
    return json.loads(read(f"{RESULTS}easy_vqa/seed_{seed}.json"))


def percent(score: dict[str, float]) -> str:
    return f"{100 * score['value']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_scores_of_the_default_experiment_are_those_of_its_json(seed: int) -> None:
    report = seed_report(seed)
    scores = [percent(report["tasks"][task]["accuracy"]) for task in TASKS]
    seconds = [report["train"]["seconds"], report["provenance"]["evaluation_seconds"]]
    expected = [str(seed), *scores, *(f"{value:.0f} s" for value in seconds)]
    assert expected in rows(f"{RESULTS}easy_vqa/default.md")
    assert report["provenance"]["commit"] in read(f"{RESULTS}easy_vqa/default.md")


def test_the_page_of_findings_has_the_scores_of_the_json() -> None:
    reports = [seed_report(seed) for seed in SEEDS]
    found = rows("docs/results.md")
    for task in TASKS:
        scores = [report["tasks"][task]["accuracy"] for report in reports]
        values = [100 * score["value"] for score in scores]
        over_seeds = f"{sum(values) / len(values):.1f} ({min(values):.1f}-{max(values):.1f})"
        without = f"{100 * reports[0]['audit'][task]['question_only']['value']:.1f}"
        assert [percent(scores[0]), over_seeds, without] in [row[1:] for row in found]


def test_raw_results_are_json() -> None:
    paths = sorted((REPOSITORY / RESULTS).rglob("*.json"))
    assert paths
    for path in paths:
        assert isinstance(json.loads(path.read_text("utf-8")), dict)
