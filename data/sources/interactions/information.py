"""What picture and sound tell about the answer, by enumeration of a kind's cases; no model, no sample is needed.

Everything is given the text: who asks knows the question. I(Y; S | text) is in bits, where S is the digit in the
picture, the one in the sound, or both (a medium that is missing is a value like any other). A ceiling is the accuracy
of who knows the distribution, sees S as digits, and gives the most probable answer. So it assumes that every digit can
be read without a mistake: a model that misreads some stays below it, whatever its fusion.

I(both) - I(picture) - I(sound) is the interaction information (McGill, 1954): above 0, the two tell more together than
each alone adds up to (synergy); below 0, they tell the same (redundancy). It is a difference, no decomposition: where a
kind has both, they cancel.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from data.sources.interactions.kinds import KINDS, Case, cases


@dataclass(frozen=True)
class Information:
    """Of one kind: bits about the answer in picture, sound and both, given the text, and the best accuracy by each.

    text_ceiling: of who has neither medium, the most frequent answer to the text.
    """

    picture_bits: float
    sound_bits: float
    both_bits: float
    both_ceiling: float
    picture_ceiling: float
    sound_ceiling: float
    text_ceiling: float

    @property
    def interaction(self) -> float:
        """I(both) - I(picture) - I(sound), bits."""
        return self.both_bits - self.picture_bits - self.sound_bits


def information(kind: str) -> Information:
    """Of a kind in `data.sources.interactions.kinds.KINDS`."""
    return measured(cases(kind))


def measured(found: Iterable[Case]) -> Information:
    """Of any distribution of cases; shares need not add up to one."""
    found = list(found)
    views: list[Callable[[Case], Hashable]] = [
        lambda case: case.text,
        lambda case: (case.text, case.picture),
        lambda case: (case.text, case.sound),
        lambda case: (case.text, case.picture, case.sound),
    ]
    (text, picture, sound, both) = (_joint(found, view) for view in views)
    left = _uncertainty(text)
    return Information(
        picture_bits=left - _uncertainty(picture),
        sound_bits=left - _uncertainty(sound),
        both_bits=left - _uncertainty(both),
        both_ceiling=_ceiling(both),
        picture_ceiling=_ceiling(picture),
        sound_ceiling=_ceiling(sound),
        text_ceiling=_ceiling(text),
    )


# What is seen -> answer -> probability.
Joint = dict[Hashable, dict[str, float]]


def _joint(found: list[Case], view: Callable[[Case], Hashable]) -> Joint:
    total = sum(case.share for case in found)
    joint: Joint = defaultdict(lambda: defaultdict(float))
    for case in found:
        joint[view(case)][case.answer] += float(case.share / total)
    return joint


def _uncertainty(joint: Joint) -> float:
    """H(answer | what is seen), bits."""
    return sum(
        share * math.log2(sum(answers.values()) / share)
        for answers in joint.values()
        for share in answers.values()
        if share > 0
    )


def _ceiling(joint: Joint) -> float:
    return sum(max(answers.values()) for answers in joint.values())


def table(kinds: Iterable[str] = tuple(KINDS)) -> list[str]:
    """Lines of a table, one for each kind."""
    lines = [
        "what each modality tells of the answer, by enumeration, given the text; ceilings for who reads every digit",
        f"{'':10} {'bits about the answer':>31}   {'highest accuracy, percent':>31}",
        f"{'kind':10} {'picture':>7} {'sound':>7} {'both':>7} {'inter.':>7}   "
        f"{'both':>7} {'picture':>7} {'sound':>7} {'neither':>7}",
    ]
    for kind in kinds:
        found = information(kind)
        bits = (found.picture_bits, found.sound_bits, found.both_bits, found.interaction)
        ceilings = (found.both_ceiling, found.picture_ceiling, found.sound_ceiling, found.text_ceiling)
        lines.append(
            f"{kind:10} {' '.join(f'{round(value, 2) + 0.0:7.2f}' for value in bits)}   "
            f"{' '.join(f'{100 * value:7.1f}' for value in ceilings)}"
        )
    return [*lines, "inter.: both - picture - sound, the interaction information (McGill, 1954)"]
