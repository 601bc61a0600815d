"""Texts that say nearly the same are found among many, at a cost that does not grow with their square."""

from __future__ import annotations

import numpy as np
import pytest

from data.inspection.prints.text_prints import MIN_RATIO, near_texts, plain, text_print

LETTERS = list("abcdefghijklmnoprstuvw")


def sentences(count: int, seed: int = 0) -> list[str]:
    draws = np.random.default_rng(seed)
    words = ["".join(draws.choice(LETTERS, draws.integers(2, 9))) for _ in range(1500)]
    return [" ".join(draws.choice(words, draws.integers(8, 20))) for _ in range(count)]


def near(texts: list[str]) -> list[tuple[int, int, float]]:
    words = [plain(text) for text in texts]
    return near_texts(words, [text_print(text) for text in words])


def test_one_word_of_many_may_differ() -> None:
    texts = sentences(400)
    changed = []
    for place, text in enumerate(texts[:100]):
        words = text.split()
        words[place % len(words)] = "x"
        changed.append(" ".join(words))
    found = near(texts + changed)
    assert {(first, second) for first, second, _ in found} <= {(place, place + 400) for place in range(100)}
    assert all(MIN_RATIO <= ratio < 100 for _, _, ratio in found)
    assert len(found) >= 85, "a long word of a short sentence is more than a tenth of it"


def test_no_two_of_many_texts_are_near() -> None:
    assert near(sentences(3000, seed=1)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  What  IS\tthis?\n", "what is this"),
        ("Straße, ﬁne", "strasse fine"),
        ("那是什么!", "那是什么"),
        ("🎉 🎉", "🎉 🎉"),
        ("?!", "?!"),
        ("", ""),
    ],
)
def test_case_punctuation_and_white_space_do_not_count(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize("text", ["", "a", "abcd", "那", "\ud83d half", "x" * 100_000])
def test_any_text_has_a_print(text: str) -> None:
    assert text_print(plain(text)).shape == (16,)
    assert (text_print(plain(text)) == text_print(plain(text))).all()
