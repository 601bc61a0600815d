"""The members of an ensemble, and how they are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from data.batching.interleave import Interleaver
from data.batching.without import without_media
from data.types import Message, Modality, Sample
from evaluation.answering.answer_metrics import AnswerMetric
from evaluation.answering.asking import Asker, checked
from evaluation.answering.audit import expected_answer
from evaluation.answering.likelihood import likelihoods
from evaluation.answering.predict import Likelihood, Prediction
from evaluation.ensemble.averaging import answer_of, closed_sets
from fusion.model import FusionModel

# Told what is asked, and what each member answers to it alone.
Tell = Callable[[str, Sequence[Sequence[Prediction]]], None]


@dataclass(frozen=True)
class Member:
    """A model with what it reads: `removed` are the modalities that it was trained without (`data.without`)."""

    name: str
    model: FusionModel
    interleaver: Interleaver
    removed: frozenset[Modality] = frozenset()

    def view(self, sample: Sample) -> Sample:
        """What it reads of a sample. What was withheld from its training (`data.modality_dropout`) its interleaver
        leaves out.
        """
        if not self.removed:
            return sample
        return replace(sample, messages=without_media(sample.messages, self.removed))

    @property
    def lacks(self) -> frozenset[Modality]:
        """The modalities that it never sees."""
        return self.removed | self.interleaver.withheld


@dataclass(frozen=True)
class TogetherAsker(Asker):
    """Asks all members, each with its own view of a sample, and gives the answers of the ensemble.

    See `evaluation.ensemble.averaging` for how they are found. Model and interleaver are those of the first member.
    """

    members: Sequence[Member] = ()
    tell: Tell = lambda stage, answers: None

    def __call__(
        self,
        stage: str,
        samples: Sequence[Sample],
        metrics: Sequence[AnswerMetric],
        candidates: Sequence[Sequence[Message]],
        *,
        on_bad_sample: str | None = None,
        answers: bool = False,
    ) -> list[Prediction]:
        """One prediction for each sample, chosen among its closed set; `candidates` are not read.

        A sample that a member cannot read is skipped by all.
        """
        sets, found = closed_sets(stage, samples), []
        for member in self.members:
            self.stage(f"{stage}, {member.name}")
            found.append(self._ask(member, samples, sets, on_bad_sample or self.on_bad_sample))
        self.advance(len(samples))
        together = [
            _answered(sample, of_sample) for sample, of_sample in zip(samples, zip(*found, strict=True), strict=True)
        ]
        alone = [
            [
                _answered(sample, [own]) if not whole.skipped else whole
                for sample, own, whole in zip(samples, of_member, together, strict=True)
            ]
            for of_member in found
        ]
        self.tell(stage, alone)
        return together

    def _ask(
        self, member: Member, samples: Sequence[Sample], sets: Sequence[Sequence[Message]], on_bad_sample: str
    ) -> list[Likelihood | None]:
        """What a member finds of all candidates of each sample; None where it cannot read all of them."""
        found = likelihoods(
            member.model,
            member.interleaver,
            [member.view(sample) for sample in samples],
            sets,
            batch_size=self.settings.batch_size,
            on_bad_sample=on_bad_sample,
        )
        whole = [
            None if own is None or len(own.answers) < len(those) else own
            for own, those in zip(found, sets, strict=True)
        ]
        return [checked(own, sample) for own, sample in zip(whole, samples, strict=True)]


def _answered(sample: Sample, found: Sequence[Likelihood | None]) -> Prediction:
    """The answer of some members together."""
    known = [own for own in found if own is not None]
    expected = expected_answer(sample)
    if len(known) < len(found):
        return Prediction(
            sample, expected, "", f"{sample.name}: cannot be read with all its candidates by every member"
        )
    return Prediction(sample, expected, answer_of(known))
