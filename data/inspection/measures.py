"""What one manifest holds in numbers: kinds, turns, lengths, answers, sizes, durations.

With a row nothing grows but a few numbers and the words of its answers.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from data.inspection.facts import Facts, Picture, Sound
from data.inspection.prints.text_prints import plain
from data.sources.messages import named_segments
from data.types import AlignedSample, Media, Sample, Text

# An answer is guessed from its question where the question is asked so often; fewer times say nothing.
ASKED_OFTEN = 5
QUANTILES = {"min": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "max": 1.0}
MOST_FREQUENT = 20
# Shorter answers stand in a question by chance: "no", "a", "2".
MIN_WORD = 3


@dataclass(frozen=True)
class Turn:
    """One answer: its field, its words (None: the conversation ends without one), and those of what was asked last, if
    they are known; whether it calls a tool."""

    field: str
    answer: str | None
    question: str | None
    calls: bool


@dataclass
class Measures:
    """The numbers of one manifest; lists hold one number for each text, medium or row."""

    num_rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)
    scripts: Counter[str] = field(default_factory=Counter)
    unread_keys: Counter[str] = field(default_factory=Counter)
    metadata: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    by_question: dict[str, Counter[str]] = field(default_factory=dict)
    turns: array[int] = field(default_factory=lambda: array("q"))
    text_letters: array[int] = field(default_factory=lambda: array("q"))
    text_words: array[int] = field(default_factory=lambda: array("q"))
    answer_letters: array[int] = field(default_factory=lambda: array("q"))
    answer_words: array[int] = field(default_factory=lambda: array("q"))
    pictures: dict[int, Picture] = field(default_factory=dict)
    sounds: dict[int, Sound] = field(default_factory=dict)

    def add_keys(self, unread: Iterable[str]) -> None:
        """Keys of a row that nothing reads."""
        self.unread_keys.update(unread)

    def add_sample(self, sample: Sample | AlignedSample) -> None:
        """Counts a row, its segments, and the texts that are no answers."""
        aligned = isinstance(sample, AlignedSample)
        self.kinds["aligned rows" if aligned else "conversations"] += 1
        self.metadata.update(sample.metadata.keys())
        if isinstance(sample, Sample):
            self.turns.append(len(sample.messages))
        answers = () if isinstance(sample, AlignedSample) else [m for m in sample.messages if m.role == "assistant"]
        answered = {id(segment) for message in answers for segment in message.content}
        for _, segment in named_segments(sample):
            if isinstance(segment, Media | Text):
                self.modalities[segment.modality] += 1
            if isinstance(segment, Text):
                self.scripts.update(script_counts(segment.text))
                if id(segment) not in answered:
                    self.text_letters.append(len(segment.text))
                    self.text_words.append(len(segment.text.split()))

    def add_turn(self, turn: Turn) -> str | None:
        """Counts an answer; returns what is odd about it, as a kind of finding."""
        if turn.answer is None:
            return "no_answer"
        answer = plain(turn.answer)
        if not answer:
            return None if turn.calls else "empty_answer"
        self.answer_letters.append(len(turn.answer))
        self.answer_words.append(len(turn.answer.split()))
        self.answers[answer] += 1
        if turn.question is None:
            return None
        question = plain(turn.question)
        self.by_question.setdefault(question, Counter())[answer] += 1
        is_word = len(answer) >= MIN_WORD
        return "answer_in_question" if is_word and f" {answer} " in f" {question} " else None

    def add_medium(self, place: int, facts: Facts) -> None:
        """A medium, by the place of its content among all: one that many rows use counts once."""
        if isinstance(facts, Picture):
            self.pictures[place] = facts
        elif isinstance(facts, Sound):
            self.sounds[place] = facts

    def most_frequent_share(self) -> float:
        """What is right if the most frequent answer is always given; nan without answers."""
        total = self.answers.total()
        return self.answers.most_common(1)[0][1] / total if total else float("nan")

    def guessed_share(self) -> float:
        """What is right if each question gets its most frequent answer, and rare questions the most frequent of all.

        nan where no question is asked often enough to say anything.
        """
        often = {question for question, found in self.by_question.items() if found.total() >= ASKED_OFTEN}
        if not often:
            return float("nan")
        known = [found for question, found in self.by_question.items() if question in often]
        top = self.answers.most_common(1)[0][0]
        rest = self.answers[top] - sum(found[top] for found in known)
        return (sum(found.most_common(1)[0][1] for found in known) + rest) / self.answers.total()

    def to_json(self) -> dict[str, Any]:
        """Everything but the lists themselves; quantiles of these are given."""
        sounds = list(self.sounds.values())
        return {
            "rows": self.num_rows,
            "kinds": dict(self.kinds),
            "segments": dict(self.modalities.most_common()),
            "turns": quantiles(self.turns),
            "scripts": shares(self.scripts),
            "texts": {"count": len(self.text_words), "letters": quantiles(self.text_letters)}
            | {"words": quantiles(self.text_words)},
            "answers": {
                "count": self.answers.total(),
                "distinct": len(self.answers),
                "letters": quantiles(self.answer_letters),
                "words": quantiles(self.answer_words),
                "most_frequent": dict(self.answers.most_common(MOST_FREQUENT)),
                "most_frequent_share": number(self.most_frequent_share()),
                "questions": len(self.by_question),
                "guessed_from_question_share": number(self.guessed_share()),
            },
            "pictures": {
                "distinct": len(self.pictures),
                "width": quantiles([picture.width for picture in self.pictures.values()]),
                "height": quantiles([picture.height for picture in self.pictures.values()]),
                "formats": dict(Counter(f"{p.format} {p.mode}" for p in self.pictures.values()).most_common()),
            },
            "sounds": {
                "distinct": len(sounds),
                "seconds": quantiles([sound.seconds for sound in sounds]),
                "total_seconds": round(sum(sound.seconds for sound in sounds), 3),
                "rates": {str(rate): count for rate, count in Counter(s.rate for s in sounds).most_common()},
                "channels": {str(number): count for number, count in Counter(s.channels for s in sounds).most_common()},
                "formats": dict(Counter(sound.format for sound in sounds).most_common()),
            },
            "metadata": dict(self.metadata.most_common()),
        }


def script_counts(text: str) -> Counter[str]:
    """Letters of each script in a text."""
    found: Counter[str] = Counter()
    for letter, count in Counter(text).items():
        if script := _script(letter):
            found[script] += count
    return found


@lru_cache(maxsize=65_536)
def _script(letter: str) -> str:
    """The first word of a letter's Unicode name: "latin", "cyrillic", "cjk"; "" for what is no letter."""
    return unicodedata.name(letter, "unknown").split()[0].lower() if letter.isalpha() else ""


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Smallest, 5 %, median, 95 % and largest value; empty without values."""
    if len(values) == 0:
        return {}
    found = np.quantile(np.asarray(values, dtype=np.float64), list(QUANTILES.values()), method="nearest")
    return {name: number(float(value)) for name, value in zip(QUANTILES, found, strict=True)}  # type: ignore[misc]


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Counts as parts of one, the largest first."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return {name: round(count / total, 4) for name, count in ordered}


def number(value: float) -> float | int | None:
    """For JSON: whole numbers as such, others to four places, none for what is no number."""
    if not np.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else round(value, 4)
