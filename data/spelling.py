"""Names of data, of files and of samples, in error messages: nothing in them is lost or interpreted."""

from __future__ import annotations

# Characters of a name.
LONGEST = 300


def printable(text: str) -> str:
    """The text as any file and terminal can hold it: what is not printed, half a surrogate pair too, by its number."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def spelled(text: str, longest: int = LONGEST) -> str:
    """The same for a name; one of more than `longest` characters loses its middle."""
    text = printable(text)
    return text if len(text) <= longest else f"{text[: longest // 2 - 3]} ... {text[2 - longest // 2 :]}"
