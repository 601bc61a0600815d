"""The step of an evaluation that compares forms of the same questions: planned from the rows, then measured.

What the tasks are answered anyway is used again. Only rows of several carriers and conflicts are asked anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.agreement.conflicts import (
    Conflicts,
    conflict_json,
    drawn_items,
    made_conflicts,
    own_answer,
    stated_conflicts,
)
from evaluation.agreement.pairs import Answers, family_json, pair_json
from evaluation.agreement.sides import Pairing, Side, families, pairings, sides_of
from evaluation.answering.answer_metrics import METRICS
from evaluation.answering.asking import Asker
from evaluation.answering.predict import Prediction
from evaluation.answering.questions import Questions
from evaluation.metrics.metric_names import ACCURACY, LOSS
from evaluation.settings import AgreementOptions, Bootstrap

STAGE = "agreement"


@dataclass(frozen=True)
class Plan:
    """What will be compared. `size`: how many questions are asked for it in addition."""

    options: AgreementOptions
    pairs: tuple[Pairing, ...] = ()
    conflicts: tuple[Conflicts, ...] = ()

    @staticmethod
    def of(tasks: Mapping[str, Questions], options: AgreementOptions | None, withheld: Collection[str]) -> Plan:
        """From the rows of all tasks; empty if `options` is None, or no row says that it is one of a pair."""
        if options is None:
            return Plan(AgreementOptions())
        pairs = pairings(sides_of(tasks, options, withheld))
        made = [made_conflicts(pairing, options) for pairing in pairs]
        stated = [stated_conflicts(name, questions) for name, questions in tasks.items()]
        return Plan(options, tuple(pairs), tuple(found for found in (*made, *stated) if found is not None))

    @property
    def sides(self) -> list[Side]:
        """All sides that are paired, each once."""
        return list({id(side): side for pairing in self.pairs for side in (pairing.first, pairing.second)}.values())

    @property
    def size(self) -> int:
        """Rows of several carriers, conflicts, and the answers to these once more, for their probability."""
        alone = sum(row.place is None for side in self.sides for row in side.rows.values())
        asked = sum(len(found.items) for found in self.conflicts if found.made)
        return alone + asked + sum(len(drawn_items(found, self.options)) for found in self.conflicts)


def measure(
    plan: Plan, answered: Mapping[str, Sequence[Prediction]], ask: Asker, boot: Bootstrap
) -> dict[str, Any] | None:
    """The part `agreement` of a report; None if nothing can be compared.

    answered: the answers to all rows of each task, in their order.
    """
    answers = {id(side): answers_of(side, answered[side.task], ask) for side in plan.sides}
    pairs = [pair_json(item, answers[id(item.first)], answers[id(item.second)], boot) for item in plan.pairs]
    several = [family_json(family, [answers[id(side)] for side in family], boot) for family in families(plan.pairs)]
    conflicts = [conflicts_of(found, answered, ask, plan.options, boot) for found in plan.conflicts]
    report = {"pairs": pairs, "families": several, "conflicts": conflicts}
    known = {name: [part for part in parts if part is not None] for name, parts in report.items()}
    return known if any(known.values()) else None


def answers_of(side: Side, of_task: Sequence[Prediction], ask: Asker) -> Answers:
    """What every row of a side was answered; rows of several carriers are asked with this one alone."""
    found = {key: of_task[row.place] for key, row in side.rows.items() if row.place is not None}
    if alone := [key for key, row in side.rows.items() if row.place is None]:
        samples = [side.rows[key].sample for key in alone]
        expected = [(sample.messages[-1],) for sample in samples]
        asked = ask(f"{STAGE}, {side.name}", samples, [METRICS[ACCURACY]], expected, on_bad_sample="skip")
        found |= dict(zip(alone, asked, strict=True))
    return {key: prediction for key, prediction in found.items() if not prediction.skipped}


def conflicts_of(
    conflicts: Conflicts,
    answered: Mapping[str, Sequence[Prediction]],
    ask: Asker,
    options: AgreementOptions,
    boot: Bootstrap,
) -> dict[str, Any] | None:
    """Asks conflicts that were made, and how likely the model finds its own answers."""
    name = f"conflicts of {' and '.join(conflicts.tasks)}"
    samples = [item.sample for item in conflicts.items]
    if conflicts.made:
        expected = [(sample.messages[-1],) for sample in samples]
        found = ask(name, samples, [METRICS[ACCURACY]], expected, on_bad_sample="skip")
    else:
        found = [answered[conflicts.tasks[0]][item.place] for item in conflicts.items if item.place is not None]
    losses: list[float | None] = [None] * len(found)
    own = {place: message for place in drawn_items(conflicts, options) if (message := own_answer(found[place]))}
    likely = ask(
        f"{name}, probability",
        [samples[place] for place in own],
        [METRICS[LOSS]],
        list(own.values()),
        on_bad_sample="skip",
    )
    for place, prediction in zip(own, likely, strict=True):
        losses[place] = None if prediction.likelihood is None else prediction.likelihood.losses[0]
    return conflict_json(conflicts, found, losses, options, boot)
