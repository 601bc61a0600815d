"""How text from data is shown: on one line, short, and never read as markup or as commands to a terminal."""

from __future__ import annotations

import html
import re

from data.inspection.measures import Measures, number, quantiles, shares

LENGTH = 160
# Marks of Markdown that begin something in the middle of a line.
MARKUP = re.compile(r"([\\`*_\[\]|~$])")


def shown(text: str, length: int = LENGTH) -> str:
    """On one line, with control characters and halves of pairs replaced, shortened in the middle."""
    line = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    line = line.encode("utf-8", "replace").decode()
    half = (length - 3) // 2
    return line if len(line) <= length else f"{line[:half]} … {line[-half:]}"


def markdown(text: str) -> str:
    """As text in Markdown, within a table too."""
    return MARKUP.sub(r"\\\1", html.escape(shown(text, 400), quote=False))


def facts(measures: Measures) -> dict[str, str]:
    """The lines of the overview of one manifest; "" where it holds none of that."""
    answers, sounds = measures.answers, list(measures.sounds.values())
    pictures = list(measures.pictures.values())
    return {
        "rows": f"{measures.num_rows:,}",
        "kinds": _counts(measures.kinds),
        "segments": _counts(measures.modalities),
        "turns a row": _range(quantiles(measures.turns)),
        "scripts": ", ".join(f"{name} {share:.0%}" for name, share in list(shares(measures.scripts).items())[:5]),
        "words a text": _range(quantiles(measures.text_words)),
        "letters a text": _range(quantiles(measures.text_letters)),
        "answers": f"{answers.total():,}, {len(answers):,} different" if answers else "",
        "words an answer": _range(quantiles(measures.answer_words)),
        "letters an answer": _range(quantiles(measures.answer_letters)),
        "most frequent answer": _most_frequent(measures),
        "most frequent to the question": _share(measures.guessed_share()),
        "different pictures": f"{len(pictures):,}" if pictures else "",
        "width": _range(quantiles([picture.width for picture in pictures])),
        "height": _range(quantiles([picture.height for picture in pictures])),
        "different sounds": f"{len(sounds):,}, {_duration(sum(s.seconds for s in sounds))}" if sounds else "",
        "seconds a sound": _range(quantiles([sound.seconds for sound in sounds])),
        "samples a second": ", ".join(f"{rate:,}" for rate in sorted({sound.rate for sound in sounds})[:6]),
    }


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(
        f"{count:,} {shown(name, 40)}" for name, count in sorted(counts.items(), key=lambda item: -item[1])
    )


def _range(found: dict[str, float]) -> str:
    """ "1 to 12, median 5"."""
    if not found:
        return ""
    low, middle, high = (f"{number(round(found[name], 2)):,}" for name in ("min", "median", "max"))
    return low if low == high else f"{low} to {high}, median {middle}"


def _most_frequent(measures: Measures) -> str:
    if not measures.answers:
        return ""
    answer = measures.answers.most_common(1)[0][0]
    return f"{shown(answer, 30)!r}: {measures.most_frequent_share():.1%}"


def _share(value: float) -> str:
    return "" if value != value else f"{value:.1%}"


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
