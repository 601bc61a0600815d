"""Writes the page: one file that holds all it shows, and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data.display.plain_text import label
from data.storage.atomic_write import write_text
from evaluation.page.commands import Command
from evaluation.page.examples import PROBABILITY, Example
from evaluation.page.markdown_page import Part, body_of
from evaluation.page.media import Budget, Item, item_of

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent
# Characters of the media of all examples; each task has the same share of them.
MOST_MEDIA = 2 * 2**20


@dataclass(frozen=True)
class Given:
    """Some items of an example, under what they are called."""

    label: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Shown:
    """An example, ready to be shown."""

    verdict: str
    parts: tuple[Given, ...]
    facts: Mapping[str, str]


def write_page(
    path: Path,
    markdown: str,
    *,
    commands: Sequence[Command] = (),
    facts: Mapping[str, str] | None = None,
    examples: Sequence[Example] = (),
) -> Path | None:
    """Writes a report as a page under a temporary name, then renames it.

    markdown: the report; its pictures are PNG files next to `path` or below. commands: what made it. facts: name ->
    words, shown under the commands. A page that cannot be made is a warning, and None; one of an older report is gone.
    """
    try:
        path.unlink(missing_ok=True)  # or it would stand next to other numbers
        write_text(path, page(markdown, path.parent, commands, facts or {}, examples))
    except Exception as error:
        reason = label(f"{type(error).__name__}: {error}", 300)
        logger.warning("warning: %s is left out (%s); all numbers are there", path.name, reason)
        return None
    return path


def page(
    markdown: str, folder: Path, commands: Sequence[Command], facts: Mapping[str, str], examples: Sequence[Example]
) -> str:
    """The page as text."""
    body = body_of(markdown, folder)
    shown, left_out = _by_task(examples)
    left_out = [*body.left_out, *left_out]
    ends = [("Examples", "examples", shown), ("Commands", "commands", True), ("Left out", "left-out", left_out)]
    style, script = _static("page.css"), _static("page.js")
    content: dict[str, Any] = {
        "title": body.title,
        "report": body.html,
        "parts": [*body.parts, *(Part(title, anchor) for title, anchor, there in ends if there)],
        "examples": shown,
        "probabilities": any(PROBABILITY in item.facts for item in examples),
        "commands": commands,
        "facts": facts,
        "left_out": left_out,
        "style": Markup(style),
        "script": Markup(script),
        "policy": "; ".join(_policy(style, script)),
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(HERE))
    return environment.get_template("page.html").render(content)


def _by_task(examples: Sequence[Example]) -> tuple[list[tuple[str, list[Shown]]], list[str]]:
    """The examples of each task, and what was left out of them."""
    tasks: dict[str, list[Example]] = {}
    for example in examples:
        tasks.setdefault(example.task, []).append(example)
    found, left_out = [], []
    for task, members in tasks.items():
        budget = Budget(MOST_MEDIA // len(tasks))
        found.append((task, [_shown(example, budget) for example in members]))
        if budget.left_out:
            left_out.append(f"{task}: {budget.left_out} pictures or clips of examples, for the page would be too large")
    return found, left_out


def _shown(example: Example, budget: Budget) -> Shown:
    parts = (Given(name, tuple(item_of(segment, budget) for segment in there)) for name, there in example.given.items())
    return Shown(example.verdict, tuple(part for part in parts if part.items), example.facts)


@lru_cache
def _static(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> list[str]:
    """What a browser may do: show what is inside the page, and run the page's own style and script; no network."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (style, script)
    ]
    return [
        "default-src 'none'",
        "img-src data:",
        "media-src data:",
        f"style-src {hashes[0]}",
        f"script-src {hashes[1]}",
        "base-uri 'none'",
        "form-action 'none'",
    ]
