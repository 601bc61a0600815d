"""The commands, JSON, links and headings of a page of the documentation, found by reading the page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# ```language name-of-file, the content, ```
FILE = re.compile(r"^```\w+ (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# ```language, the content, ```
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CONTINUED = re.compile(r"\\\n\s*")
# What an indented line, or words in a sentence, must begin with to be a command.
COMMANDS = ("python scripts/", "torchrun ", "make ", "pip install ")


@dataclass(frozen=True)
class Example:
    """A command as it stands on a page: its words as a shell reads them, without the comment."""

    page: str
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {' '.join(self.words)}"


def read(page: str) -> str:
    """The text of a page, given by its path in the repository."""
    return (REPOSITORY / page).read_text(encoding="utf-8")


def examples(page: str) -> list[Example]:
    """Every command: all lines of bash blocks, and what begins like a command in indented blocks and in sentences."""
    return [
        Example(page, line, tuple(shlex.split(command, comments=True))) for line, command in sorted(_found(read(page)))
    ]


def json_blocks(page: str) -> list[str]:
    """The JSON on a page."""
    return [content for language, content in BLOCK.findall(read(page)) if language == "json"]


def files(text: str) -> dict[str, str]:
    """The files in a text, by their names, which blocks have after their language."""
    return dict(FILE.findall(text))


def python_blocks(text: str) -> list[str]:
    """The Python in a text that is no file of its own, which a block names after its language."""
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def links(page: str) -> list[str]:
    """Where the links and pictures of a page lead that stay in the repository."""
    return [link for link in LINK.findall(_without_blocks(read(page))) if "://" not in link]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    titles = [re.sub(r"[`*]|\[|\]\([^)]*\)", "", title) for title in HEADING.findall(_without_blocks(text))]
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def _found(text: str) -> Iterator[tuple[int, str]]:
    for block in BLOCK.finditer(text):
        if block[1] == "bash":
            yield from _commands(block[2], _line(text, block.start(2)))
    prose = _without_blocks(text)
    for block in INDENTED.finditer(prose):
        found = _commands(re.sub("^ {4}", "", block[0], flags=re.MULTILINE), _line(prose, block.start()))
        yield from ((line, command) for line, command in found if command.startswith(COMMANDS))
    sentences = INDENTED.sub(_blank, prose)
    for span in INLINE.finditer(sentences):
        command = " ".join(span[1].split())
        if command.startswith(COMMANDS):
            yield _line(sentences, span.start()), command


def _commands(block: str, first: int) -> Iterator[tuple[int, str]]:
    place = 0
    for line in CONTINUED.sub("\0", block).splitlines():
        if line.strip():
            yield first + place, line.replace("\0", " ")
        place += 1 + line.count("\0")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _without_blocks(text: str) -> str:
    """The page with empty lines in place of blocks, so that lines keep their numbers."""
    return BLOCK.sub(_blank, text)


def _blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")
