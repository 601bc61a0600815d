"""Texts of data as they may be shown in figures, tables and on the terminal."""

from __future__ import annotations

import unicodedata

# Characters of a label.
LONGEST = 40
BREAKS, INVISIBLE = ("Cc", "Zl", "Zp"), "Cf"
# Halves of surrogate pairs, private and unassigned characters.
UNKNOWN = ("Cs", "Co", "Cn")


def one_line(text: object) -> str:
    """A text without control characters, line breaks and characters of no width (which may reverse its direction)."""
    return " ".join("".join(map(_shown, str(text))).split())


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if category in BREAKS:
        return " "
    return "" if category == INVISIBLE else "\N{REPLACEMENT CHARACTER}" if category in UNKNOWN else character


def label(text: object, longest: int = LONGEST) -> str:
    """A text on one line of at most `longest` characters, for a figure.

    It never begins with "_", which would hide it from a legend.
    """
    whole = str(text)
    begin = whole[: 4 * longest]
    line = one_line(begin)
    if len(line) > longest or begin != whole:
        line = line[: longest - 1].rstrip() + "…"
    return f" {line}" if line.startswith("_") else line
