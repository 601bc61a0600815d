"""How far two forms of the same questions get the same answers, and how far by chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.agreement.sides import Pairing, Row, Side
from evaluation.answering.predict import Prediction
from evaluation.answering.reply import canonical
from evaluation.metrics.agreement import Agreement, cohen, fleiss
from evaluation.metrics.scores import bootstrap
from evaluation.settings import Bootstrap

# What every row of a side was answered, by its pair; a row that could not be asked is not there.
Answers = dict[str, Prediction]


def pair_json(pairing: Pairing, first: Answers, second: Answers, boot: Bootstrap) -> dict[str, Any] | None:
    """The part of a report about two sides; None if no pair was answered on both.

    answers: whether both give the same answer, and Cohen's kappa of it. right: whether both are right or both are
    wrong, and the kappa of that (the error consistency of Geirhos et al., arXiv:2006.16736). Its chance is what two
    independent models of these accuracies would have. wrong: of those that both answer wrongly, the share with the same
    wrong answer; its chance knows what was expected.
    """
    keys = [key for key in pairing.pairs if key in first and key in second]
    if not keys:
        return None
    rows = [pairing.first.rows[key] for key in keys]
    one, other = ([canonical(answers[key].answer) for key in keys] for answers in (first, second))
    one_N, other_N = (np.array([answers[key].correct for key in keys]) for answers in (first, second))
    clusters = [row.cluster for row in rows]
    together = cohen(
        [str(right) for right in one_N], [str(right) for right in other_N], clusters, boot.resamples, boot.seed
    )
    return {
        "sides": [pairing.first.name, pairing.second.name],
        "carriers": [pairing.first.carrier, pairing.second.carrier],
        "n": len(keys),
        "left_out": {"unanswered": len(pairing.pairs) - len(keys), "other_answer": pairing.other_answer},
        "accuracy": [bootstrap(right_N, clusters, boot.resamples, boot.seed).to_json() for right_N in (one_N, other_N)],
        "counts": {
            "both_right": int((one_N & other_N).sum()),
            "only_first": int((one_N & ~other_N).sum()),
            "only_second": int((~one_N & other_N).sum()),
            "both_wrong": int((~one_N & ~other_N).sum()),
        },
        "answers": cohen(one, other, clusters, boot.resamples, boot.seed).to_json(),
        "right": together.to_json(),
        "wrong": wrong_json(rows, one, other, ~one_N & ~other_N, boot),
    }


def wrong_json(
    rows: Sequence[Row], one: Sequence[str], other: Sequence[str], wrong_N: np.ndarray, boot: Bootstrap
) -> dict[str, Any]:
    """Of what both answer wrongly, how often they give the same answer, and how often they would by chance.

    Chance pairs each wrong answer with any that the other side gives where the same was expected: to a question of yes
    or no two wrong answers are always the same.
    """
    places = np.flatnonzero(wrong_N).tolist()
    if not places:
        return {"observed": None, "chance": None}
    same = [one[place] == other[place] for place in places]
    given: dict[str, tuple[Counter[str], Counter[str]]] = {}
    for place in places:
        counts = given.setdefault(rows[place].expected, (Counter(), Counter()))
        counts[0][one[place]] += 1
        counts[1][other[place]] += 1
    chance = sum(sum(a[answer] * b[answer] for answer in a) / a.total() for a, b in given.values()) / len(places)
    observed = bootstrap(same, [rows[place].cluster for place in places], boot.resamples, boot.seed)
    return {"observed": observed.to_json(), "chance": chance}


def family_json(family: Sequence[Side], answers: Sequence[Answers], boot: Bootstrap) -> dict[str, Any] | None:
    """Fleiss' kappa of three or more sides, on what all of them answered; None if there is nothing."""
    first = family[0].rows
    keys = [
        key
        for key in first
        if all(key in found for found in answers) and len({side.rows[key].expected for side in family}) == 1
    ]
    if not keys:
        return None
    given = [[canonical(found[key].answer) for key in keys] for found in answers]
    found: Agreement = fleiss(given, [first[key].cluster for key in keys], boot.resamples, boot.seed)
    return {"sides": [side.name for side in family], "n": len(keys), "answers": found.to_json()}
