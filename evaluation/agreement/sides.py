"""Which rows ask the same in different forms: stated by the rows themselves, in two fields of their metadata.

`pair`: rows with an equal value ask the same of the same thing, typed and spoken, or pictured, said and written.
`carrier`: the modality that says in this row what the others say in another one, such as "text" of a typed question.

A row may carry the same in several modalities, "image+audio". It is then asked with each of them alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from data.batching.absence import without
from data.randomness import generator
from data.types import Sample
from evaluation.answering.audit import expected_answer
from evaluation.answering.questions import Questions
from evaluation.answering.reply import canonical
from evaluation.metrics.metric_names import ACCURACY
from evaluation.settings import AgreementOptions

PAIR, CARRIER = "pair", "carrier"
AND = "+"


@dataclass(frozen=True)
class Row:
    """A row of a side. whole: with all its carriers, where it has several, and `sample` has one of them.

    place: where its own answer is among those of the task; None where it must be asked.
    """

    sample: Sample
    whole: Sample
    cluster: str
    place: int | None

    @property
    def expected(self) -> str:
        """The answer that is right, in the form that is the same for the same answer."""
        return canonical(expected_answer(self.sample))


@dataclass(frozen=True)
class Side:
    """All rows of a task that carry what they say in one modality, by their pair. `carrier` is "" if no row says it."""

    task: str
    carrier: str
    name: str
    rows: dict[str, Row] = field(default_factory=dict)


@dataclass(frozen=True)
class Pairing:
    """Two sides, and the pairs that both have and that expect one answer.

    other_answer: how many pairs expect another answer on each side, and are left out.
    """

    first: Side
    second: Side
    pairs: tuple[str, ...]
    other_answer: int


def sides_of(tasks: Mapping[str, Questions], options: AgreementOptions, withheld: Collection[str]) -> list[Side]:
    """The sides of all tasks that are scored by exact answers, in their order.

    A pair that a side has twice is ambiguous, and left out. So is a carrier that the model never has (`withheld`).
    """
    found = []
    for task, questions in tasks.items():
        if questions.main.name != ACCURACY:
            continue
        sides = [side for side in _sides(task, questions, options) if side.carrier not in withheld]
        found += [replace(side, name=task) for side in sides] if len(sides) == 1 else sides
    return found


def _sides(task: str, questions: Questions, options: AgreementOptions) -> list[Side]:
    carried = [sample.metadata.get(CARRIER, "").split(AND) for sample in questions.samples]
    both = np.array([place for place, carriers in enumerate(carried) if len(carriers) > 1], dtype=int)
    size = min(options.max_samples or len(both), len(both))
    drawn = set(generator(options.seed, "rows of several carriers", task).choice(both, size, replace=False).tolist())
    keys = [_pair(task, place, sample, len(carried[place])) for place, sample in enumerate(questions.samples)]
    uses = Counter((key, carrier) for key, carriers in zip(keys, carried, strict=True) for carrier in carriers)
    sides: dict[str, Side] = {}
    for place, (sample, key, carriers) in enumerate(zip(questions.samples, keys, carried, strict=True)):
        if len(carriers) > 1 and place not in drawn:
            continue
        for carrier in carriers:
            if key is None or uses[key, carrier] > 1:
                continue
            side = sides.setdefault(carrier, Side(task, carrier, f"{task}: {carrier}" if carrier else task))
            alone = len(carriers) == 1
            asked = sample if alone else without(sample, [other for other in carriers if other != carrier])
            side.rows[key] = Row(asked, sample, questions.clusters.names[place], place if alone else None)
    return list(sides.values())


def _pair(task: str, place: int, sample: Sample, carriers: int) -> str | None:
    """What a row is paired by; one of several carriers is a pair by itself."""
    return sample.metadata.get(PAIR, f"{task}, row {place}" if carriers > 1 else None)


def pairings(sides: Sequence[Side]) -> list[Pairing]:
    """All two sides that have pairs in common."""
    found = []
    for first, second in combinations(sides, 2):
        common = [key for key in first.rows if key in second.rows]
        equal = tuple(key for key in common if first.rows[key].expected == second.rows[key].expected)
        if equal:
            found.append(Pairing(first, second, equal, len(common) - len(equal)))
    return found


def families(pairs: Sequence[Pairing]) -> list[list[Side]]:
    """Three or more sides that are all paired with one another, each family as large as it can be."""
    sides = {id(side): side for pairing in pairs for side in (pairing.first, pairing.second)}
    linked = {frozenset((id(pairing.first), id(pairing.second))) for pairing in pairs}
    found: list[list[int]] = []
    for key in sides:
        home = next((family for family in found if all(frozenset((key, other)) in linked for other in family)), None)
        found.append([key]) if home is None else home.append(key)
    return [[sides[key] for key in family] for family in found if len(family) > 2]
