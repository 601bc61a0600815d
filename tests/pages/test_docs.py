"""The pages of the documentation: links lead somewhere, words are plain, tables agree with their JSON."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pytest

from tests.pages.examples import BLOCK, INDENTED, INLINE, LINK, REPOSITORY, anchors, links, read

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
