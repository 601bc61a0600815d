"""Kinds of questions about a digit that is seen and a digit that is heard: what each modality tells, by construction.

A kind is a distribution over cases. A case says what the picture shows, what is said (None: it is not there), the text
that asks, and the answer. Everything else, which picture and which voice, is drawn without regard to the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np

from data.sources.interactions.digits import NUM_DIGITS
from data.spelling import spelled

DIGITS = range(NUM_DIGITS)
WHICH = "which digit?"


@dataclass(frozen=True)
class Case:
    """One possible question; `share` is its probability within its kind."""

    picture: int | None
    sound: int | None
    text: str
    answer: str
    share: Fraction


# (picture, sound, text, answer)
Row = tuple[int | None, int | None, str, str]


def _redundant() -> Iterator[Row]:
    yield from ((digit, digit, WHICH, str(digit)) for digit in DIGITS)


def _picture() -> Iterator[Row]:
    yield from ((seen, heard, "digit in the picture?", str(seen)) for seen, heard in product(DIGITS, DIGITS))


def _sound() -> Iterator[Row]:
    yield from ((seen, heard, "digit in the sound?", str(heard)) for seen, heard in product(DIGITS, DIGITS))


def _sum() -> Iterator[Row]:
    text = "sum modulo ten?"
    yield from ((seen, heard, text, str((seen + heard) % 10)) for seen, heard in product(DIGITS, DIGITS))


def _equal() -> Iterator[Row]:
    text = "equal?"
    yield from ((seen, heard, text, "yes" if seen == heard else "no") for seen, heard in product(DIGITS, DIGITS))


def _larger() -> Iterator[Row]:
    text = "which is larger?"
    yield from ((seen, heard, text, "picture" if seen > heard else "sound") for seen, heard in _different())


def _conflict() -> Iterator[Row]:
    for seen, heard in _different():
        yield seen, heard, "they differ, the picture counts", str(seen)
        yield seen, heard, "they differ, the sound counts", str(heard)


def _absent() -> Iterator[Row]:
    for digit in DIGITS:
        yield digit, None, WHICH, str(digit)
        yield None, digit, WHICH, str(digit)


def _different() -> Iterator[tuple[int, int]]:
    return ((seen, heard) for seen, heard in product(DIGITS, DIGITS) if seen != heard)


KINDS: dict[str, Callable[[], Iterator[Row]]] = {
    "redundant": _redundant,
    "picture": _picture,
    "sound": _sound,
    "sum": _sum,
    "equal": _equal,
    "larger": _larger,
    "conflict": _conflict,
    "absent": _absent,
}


def cases(kind: str) -> list[Case]:
    """All cases of a kind, by answer: every answer is as frequent as every other, as are the cases of one answer.

    redundant: both show the digit. picture, sound: that one shows it, the other shows any. sum: modulo ten. equal:
    whether they are. larger: which of the two is, and they are never equal. conflict: they differ, and the text says
    which counts. absent: one is missing, the other shows the digit; asked as `redundant` is.
    """
    rows = list(KINDS[kind]())
    answers = sorted({row[3] for row in rows})
    counts = {answer: sum(row[3] == answer for row in rows) for answer in answers}
    shares = {answer: Fraction(1, len(answers) * counts[answer]) for answer in answers}
    return [Case(*row, shares[row[3]]) for row in sorted(rows, key=lambda row: row[3])]


def check_kind(kind: str) -> None:
    """Raises `ValueError` for a kind that there is not."""
    if kind not in KINDS:
        raise ValueError(f"kind={spelled(kind)!r} must be one of {', '.join(KINDS)}")


def dealt(kind: str, count: int, rng: np.random.Generator | None = None) -> list[Case]:
    """`count` cases by answer, each as often as its share says, up to less than one (systematic sampling).

    So is each answer. rng: draws which of an answer's cases are the ones that a small `count` rounds up.
    """
    found = cases(kind)
    if rng is not None:
        found = sorted((found[place] for place in rng.permutation(len(found))), key=lambda case: case.answer)
    taken, dealt_cases = Fraction(0), list[Case]()
    for case in found:
        taken += case.share
        # Taken are the places (i + 1/2) / count; here those below the sum of the shares so far.
        end = math.ceil(taken * count - Fraction(1, 2))
        dealt_cases += [case] * (end - len(dealt_cases))
    return dealt_cases


def texts(kinds: Iterable[str]) -> Iterator[str]:
    """What is asked and answered in some kinds, each once."""
    seen = dict.fromkeys(text for kind in kinds for case in cases(kind) for text in (case.text, case.answer))
    yield from seen
