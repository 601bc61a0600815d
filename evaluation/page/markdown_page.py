"""The markdown of a report as HTML: its tables scroll, its pictures are inside it, its text stays text."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

# Bytes of all figures together; what comes after that stays next to the page.
MOST_FIGURES = 3 * 2**20
PNG = "image/png"


@dataclass(frozen=True)
class Part:
    """A heading that can be jumped to."""

    title: str
    anchor: str


@dataclass(frozen=True)
class Body:
    """title: that of the report. parts: its headings. left_out: what is not inside, in words."""

    html: Markup
    title: str
    parts: tuple[Part, ...]
    left_out: tuple[str, ...]


def body_of(text: str, folder: Path) -> Body:
    """Markdown with its pictures in `folder`. HTML in it is text, and no picture from elsewhere is read."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    left_out = _with_pictures(tokens, folder)
    parts: list[Part] = []
    title = ""
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            words = _words(tokens[place + 1])
            if token.tag == "h1":
                title = title or words
            if token.tag == "h2":
                parts.append(Part(words, f"part-{len(parts) + 1}"))
                token.attrSet("id", parts[-1].anchor)
        elif token.type in ("th_open", "td_open"):
            # The page allows no style of its own to an element.
            style = str(token.attrs.pop("style", ""))
            if style.endswith("right"):
                token.attrSet("class", "right")
    html = parser.renderer.render(tokens, parser.options, {})
    html = html.replace("<table>", '<div class="scroll" role="region" aria-label="table" tabindex="0"><table>')
    return Body(Markup(html.replace("</table>", "</table></div>")), title, tuple(parts), tuple(left_out))


def data_uri(kind: str, content: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _words(inline: Token) -> str:
    return "".join(child.content for child in inline.children or () if child.type in ("text", "code_inline"))


def _with_pictures(tokens: list[Token], folder: Path) -> list[str]:
    """Puts the pictures inside; one that cannot be is its title. Returns what was left out."""
    left_out, spent = [], 0
    for inline in (token for token in tokens if token.children):
        for child in inline.children or ():
            if child.type != "image":
                continue
            name = str(child.attrs["src"])
            content = _picture(name, folder)
            if content is None or spent + len(content) > MOST_FIGURES:
                why = "is not there" if content is None else "the page would be too large; it lies next to it"
                left_out.append(f"{name}: {why}")
                child.type, child.tag, child.nesting = "text", "", 0
                continue
            spent += len(content)
            child.attrSet("src", data_uri(PNG, content))
    return left_out


def _picture(name: str, folder: Path) -> bytes | None:
    """A PNG inside the folder; None of anything else."""
    path = PurePosixPath(name)
    if re.match(r"\w+:", name) or path.is_absolute() or ".." in path.parts or path.suffix != ".png":
        return None
    try:
        return (folder / path).read_bytes()
    except OSError:
        return None
