"""The page without a browser: text stays text, nothing is fetched, its size is bounded, its failure is small."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from data.display.drawing import new_figure, save
from data.types import Absent, Media, Text
from evaluation.page import markdown_page, media, write
from evaluation.page.commands import running_command
from evaluation.page.examples import Example
from evaluation.page.media import Budget, item_of
from evaluation.page.write import write_page
from evaluation.reports.report import write_report
from tests.evaluation.page.hostile import HOSTILE, TONE, hostile_page


class Elements(HTMLParser):
    """The elements of a page with their attributes, its style and script, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.path: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.path.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.path and self.path.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = self.path[-1] if self.path and self.path[-1] in ("style", "script") else "text"
        self.texts[inside] = self.texts.get(inside, "") + data


def elements(path: Path) -> Elements:
    return Elements(path.read_text(encoding="utf-8"))


def loaded(found: Elements) -> list[str]:
    """Every address that a browser would load by itself."""
    names = ("src", "srcset", "data", "poster", "background", "action")
    own = [str(attributes[name]) for _, attributes in found.found for name in names if name in attributes]
    return own + [str(attributes["href"]) for tag, attributes in found.found if tag == "link"]


def test_texts_of_data_stay_text(tmp_path: Path) -> None:
    found = elements(hostile_page(tmp_path / "page.html"))
    tags = [tag for tag, _ in found.found]
    assert tags.count("script") == tags.count("style") == 1
    assert "svg" not in tags
    assert not [name for _, attributes in found.found for name in attributes if name.startswith("on")]
    assert all(address.startswith("data:") for address in loaded(found))
    links = [str(attributes["href"]) for tag, attributes in found.found if tag == "a"]
    assert links
    assert all(address.startswith("#") for address in links)
    for text in HOSTILE:
        assert found.texts["text"].count(text) >= 6, "title, table, heading, paragraph, example, command"


def test_the_policy_allows_the_page_s_own_style_and_script_alone(tmp_path: Path) -> None:
    found = elements(hostile_page(tmp_path / "page.html"))
    policies = [attributes["content"] for tag, attributes in found.found if attributes.get("http-equiv")]
    assert len(policies) == 1
    allowed = dict(item.split(" ", 1) for item in str(policies[0]).split("; "))
    for name in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(found.texts[name].encode()).digest()).decode()
        assert allowed[f"{name}-src"] == f"'sha256-{digest}'"
    assert allowed["default-src"] == "'none'"
    assert allowed["img-src"] == allowed["media-src"] == "data:"
    assert not [attributes for _, attributes in found.found if "style" in attributes], "the policy would refuse it"
    assert not re.search(r"url\(|@import|https?:", found.texts["style"] + found.texts["script"])


def test_a_whole_report_loads_nothing(report: dict[str, Any], metrics_file: Path, tmp_path: Path) -> None:
    write_report(report, tmp_path / "run", metrics_file)
    found = elements(tmp_path / "run" / "report.html")
    figures = list((tmp_path / "run" / "figures").iterdir())
    pictures = [str(attributes["src"]) for tag, attributes in found.found if tag == "img"]
    assert len(pictures) == len(figures) == 6
    inside = {base64.b64decode(address.partition(",")[2]) for address in pictures}
    assert inside == {figure.read_bytes() for figure in figures}
    assert all(address.startswith("data:") for address in loaded(found))
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", "https://example.org/x.png", "page.txt", "gone.png"])
def test_no_picture_from_elsewhere_is_taken(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    for path in (tmp_path / "secret.png", folder / "page.txt"):
        path.write_bytes(b"secret")
    page = folder / "page.html"
    assert write_page(page, f"# A\n\n![the title]({name})\n") == page
    found = elements(page)
    assert not [tag for tag, _ in found.found if tag == "img"]
    assert "the title" in found.texts["text"]
    assert name in found.texts["text"].partition("Left out of this page")[2]
    assert base64.b64encode(b"secret").decode() not in page.read_text()


def test_what_would_be_too_large_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        save(new_figure(2, 2), tmp_path / f"{name}.png")
    size = (tmp_path / "a.png").stat().st_size
    monkeypatch.setattr(markdown_page, "MOST_FIGURES", size)
    monkeypatch.setattr(write, "MOST_MEDIA", 100_000)
    clip = Media("audio", torch.rand(60_000) - 0.5)
    examples = [Example("spoken", "right", {"given": [clip, Media("audio", TONE)]}, {}) for _ in range(3)]
    page = tmp_path / "page.html"
    write_page(page, "# A\n\n![a](a.png)\n\n![b](b.png)\n", examples=examples)
    text = elements(page).texts["text"]
    assert "b.png: the page would be too large; it lies next to it" in text
    assert "spoken: 3 pictures or clips of examples" in text
    assert text.count("[audio, left out: the page would be too large]") == 3
    assert page.stat().st_size < 4 * size / 3 + 100_000 + 30_000


def test_media_are_bounded_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "LONGEST_CLIP", 0.5)
    clip = item_of(Media("audio", TONE), Budget(10**6))
    assert (clip.kind, clip.note) == ("audio", "the first 0 of 1 s")
    large = torch.randint(0, 256, (3, 900, 1300), dtype=torch.uint8)
    picture = item_of(Media("image", large), Budget(10**6))
    assert picture.note == "shown smaller than its 1300 x 900 pixels"
    assert picture.source.startswith("data:image/jpeg"), "a photograph is no PNG"
    assert item_of(Media("image", large[:, :8, :8]), Budget(10**6)).source.startswith("data:image/png")
    assert item_of(Media("thermometer", torch.ones(2, 3)), Budget(10**6)).text == "[thermometer]"
    assert item_of(Media("image", b"broken"), Budget(10**6)).text == "[image]"
    assert item_of(Absent("image"), Budget(10**6)).text == "[no image]"
    assert len(item_of(Text("word " * 1000), Budget(0)).text) == media.LONGEST_WORDS


def test_a_page_that_fails_costs_nothing_else(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "report.html").write_text("an older one")

    def fail(*arguments: object) -> str:
        raise RuntimeError("no page\ntoday")

    monkeypatch.setattr(write, "page", fail)
    with caplog.at_level(logging.WARNING):
        write_report(report, tmp_path)
    assert "warning: report.html is left out (RuntimeError: no page today)" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.md", "figures"}


def test_commands_can_be_copied(report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scripts/evaluate.py", "checkpoint=a run", "data.evaluation=[a.jsonl,b.jsonl]"])
    typed = running_command()
    assert typed == "python scripts/evaluate.py 'checkpoint=a run' 'data.evaluation=[a.jsonl,b.jsonl]'"
    trained = {"command": "train.py seed=1", "commit": "abc", "uncommitted_changes": True, "cores": 2}
    report["provenance"] |= {"command": typed, "trained_on": trained, "seed": 1, "evaluation_seconds": 12.3}
    write_report(report, tmp_path)
    text = elements(tmp_path / "report.html").texts["text"].partition("\nCommands\n")[2].rpartition("\nCommands\n")[2]
    for line in (typed, "python scripts/train.py seed=1", "git checkout abc", "seed: 1", "evaluation: 12 s", "2 cores"):
        assert line in text
    assert "abc and uncommitted changes" in text
    monkeypatch.setattr(sys, "argv", ["somebody.py"])
    assert running_command() is None
