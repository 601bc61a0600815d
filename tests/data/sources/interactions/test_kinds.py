"""Kinds are what they say, and what they tell is what can be computed by hand."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from data.sources.interactions.information import information, measured, table
from data.sources.interactions.kinds import KINDS, Case, cases, dealt

TEN = math.log2(10)
# Bits about one digit in another one that is known to differ.
OTHER = TEN - math.log2(9)
# Of `larger`, I(Y; one digit): 1 - mean over digits of H(d / 9).
ONE_OF_TWO = 1 - sum(-p * math.log2(p) - (1 - p) * math.log2(1 - p) for p in (d / 9 for d in range(1, 9))) / 10
# kind -> bits in picture, sound, both; ceilings of both, picture, sound, text
BY_HAND = {
    "redundant": (TEN, TEN, TEN, 1.0, 1.0, 1.0, 0.1),
    "picture": (TEN, 0.0, TEN, 1.0, 1.0, 0.1, 0.1),
    "sound": (0.0, TEN, TEN, 1.0, 0.1, 1.0, 0.1),
    "sum": (0.0, 0.0, TEN, 1.0, 0.1, 0.1, 0.1),
    "equal": (0.0, 0.0, 1.0, 1.0, 0.5, 0.5, 0.5),
    "larger": (ONE_OF_TWO, ONE_OF_TWO, 1.0, 1.0, 7 / 9, 7 / 9, 0.5),
    # Half of the time the one that counts; else another digit, of which one more is known not to be the answer.
    "conflict": ((TEN + OTHER) / 2, (TEN + OTHER) / 2, TEN, 1.0, 5 / 9, 5 / 9, 0.1),
    "absent": (TEN / 2, TEN / 2, TEN, 1.0, 0.55, 0.55, 0.1),
}


def right(kind: str, case: Case) -> str:
    """The answer that follows from what is seen, heard and asked, written out once more."""
    seen, heard = case.picture, case.sound
    if kind == "sum":
        assert seen is not None
        assert heard is not None
        return str((seen + heard) % 10)
    if kind in ("equal", "larger"):
        assert seen is not None
        assert heard is not None
        return ("yes" if seen == heard else "no") if kind == "equal" else ("picture" if seen > heard else "sound")
    if kind == "conflict":
        return str(seen if "picture counts" in case.text else heard)
    return str(heard if kind == "sound" or seen is None else seen)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_follow_from_the_digits(kind: str) -> None:
    found = cases(kind)
    assert [case.answer for case in found] == [right(kind, case) for case in found]
    assert sum(case.share for case in found) == 1
    assert len({(case.picture, case.sound, case.text) for case in found}) == len(found)


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_as_frequent_as_every_other(kind: str) -> None:
    shares: Counter[str] = Counter()
    for case in cases(kind):
        shares[case.answer] += case.share  # type: ignore[assignment]
    assert set(shares.values()) == {Fraction(1, len(shares))}
    for count, rng in product((1800, 360, 90, 7), (None, np.random.default_rng(0))):
        found = dealt(kind, count, rng)
        drawn, each = Counter(case.answer for case in found), Counter(found)
        assert all(abs(each[case] - count * case.share) < 1 for case in cases(kind))
        assert len(found) == count
        assert all(abs(drawn[answer] - count * share) < 1 for answer, share in shares.items())


def test_each_kind_relates_the_digits_as_it_says() -> None:
    pairs = {kind: [(case.picture, case.sound) for case in cases(kind)] for kind in KINDS}
    assert all(seen == heard for seen, heard in pairs["redundant"])
    assert all(seen != heard for seen, heard in pairs["conflict"] + pairs["larger"])
    assert all((seen is None) != (heard is None) for seen, heard in pairs["absent"])
    for kind in ("picture", "sound", "sum", "equal"):
        assert len(set(pairs[kind])) == 100
    texts = {case.text for case in cases("conflict")}
    assert len(texts) == 2
    # Who does not look cannot tell a missing medium from the question.
    assert {case.text for case in cases("absent")} == {case.text for case in cases("redundant")}


@pytest.mark.parametrize("kind", KINDS)
def test_information_is_what_the_hand_computes(kind: str) -> None:
    found = information(kind)
    bits = (found.picture_bits, found.sound_bits, found.both_bits)
    ceilings = (found.both_ceiling, found.picture_ceiling, found.sound_ceiling, found.text_ceiling)
    assert (*bits, *ceilings) == pytest.approx(BY_HAND[kind], abs=1e-12)
    assert found.interaction == pytest.approx(bits[2] - bits[0] - bits[1])


def test_information_of_what_is_dealt_is_that_of_the_kind() -> None:
    for kind in KINDS:
        empirical = measured(replace(case, share=Fraction(1)) for case in dealt(kind, 1800))
        assert vars(empirical) == pytest.approx(vars(information(kind)), abs=1e-12)
    few = measured(replace(case, share=Fraction(1)) for case in dealt("sum", 90))
    assert few.sound_bits > 0.1  # of few samples it is too high: not every pair occurs


def test_a_distribution_that_is_skewed() -> None:
    """Y is a coin with heads 3 of 4 times; the picture shows it, the sound is silent."""
    coin = [Case(1, None, "?", "heads", Fraction(3, 4)), Case(0, None, "?", "tails", Fraction(1, 4))]
    found = measured(coin)
    assert found.picture_bits == pytest.approx(2 - 0.75 * math.log2(3))
    assert (found.sound_bits, found.text_ceiling, found.picture_ceiling) == pytest.approx((0.0, 0.75, 1.0))


def test_the_table_has_a_line_for_each_kind() -> None:
    lines = [line.split() for line in table()]
    rows = {line[0]: line[1:] for line in lines if line and line[0] in KINDS}
    assert list(rows) == list(KINDS)
    assert rows["sum"] == ["0.00", "0.00", "3.32", "3.32", "100.0", "10.0", "10.0", "10.0"]
    assert rows["larger"] == ["0.36", "0.36", "1.00", "0.27", "100.0", "77.8", "77.8", "50.0"]
