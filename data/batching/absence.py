"""Modalities taken away: at random in training (modality dropout), on purpose in evaluation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from data.randomness import Draws
from data.types import TEXT, Absent, AlignedSample, Message, Modality, Sample, Segment

# Number of a message in its sample, and of a segment in that message.
Place = tuple[int, int]


def user_segments(sample: Sample) -> dict[Place, Segment]:
    """What the user gives, by its place, in reading order; what is absent is not given."""
    return {
        (number, place): item
        for number, message in enumerate(sample.messages)
        if message.role == "user"
        for place, item in enumerate(message.content)
        if not isinstance(item, Absent)
    }


def without(sample: Sample, modalities: Collection[Modality]) -> Sample:
    """The sample without what its user gives of some modalities: text goes, of media it is noted that they are absent.

    Other turns (system messages, earlier answers, the expected answer) stay as they are.
    """
    gone = {place for place, item in user_segments(sample).items() if item.modality in modalities}
    return without_places(sample, gone) if gone else sample


def without_places(sample: Sample, places: Collection[Place]) -> Sample:
    """The sample without the segments at some places: text goes, of media it is noted that they are absent."""

    def rest(number: int, message: Message) -> Iterator[Segment]:
        for place, item in enumerate(message.content):
            if (number, place) not in places:
                yield item
            elif item.modality != TEXT:
                yield Absent(item.modality)

    messages = (replace(item, content=tuple(rest(number, item))) for number, item in enumerate(sample.messages))
    return replace(sample, messages=tuple(messages))


def user_modalities(sample: Sample) -> list[Modality]:
    """Modalities of what the user gives, sorted."""
    return sorted({item.modality for item in user_segments(sample).values()})


def withheld(probabilities: Mapping[Modality, float] | None) -> frozenset[Modality]:
    """The modalities that a training with these shares of `modality_dropout` never shows: those with a share of 1."""
    return frozenset(name for name, share in (probabilities or {}).items() if share == 1)


class ModalityDropout:
    """Takes a whole modality of a sample away, each with a probability of its own (ModDrop, arXiv:1501.00102).

    All segments of a modality go together, so that its absence in training looks as it does in evaluation. Differs
    from ModDrop in that values are not zeroed but gone, and in that a sample keeps what is drawn by chance where
    nothing would be left. An answer stays a target although what it was about may be gone: keep the probabilities
    small, or make one of them 1. That modality always goes, whatever is left, which trains a blind baseline.
    """

    def __init__(self, probabilities: Mapping[Modality, float], modalities: Collection[Modality]) -> None:
        for name, probability in probabilities.items():
            if name not in modalities:
                known = ", ".join(modalities)
                raise ValueError(f"modality_dropout.{name}: the model has no such modality; it has {known}")
            if not 0 <= probability <= 1:
                raise ValueError(f"modality_dropout.{name}={probability} must be in [0, 1]")
        self.always = withheld(probabilities)
        self.probabilities = {name: value for name, value in sorted(probabilities.items()) if 0 < value < 1}

    def __call__(self, sample: Sample | AlignedSample, draws: Draws) -> Sample | AlignedSample:
        """The sample with what is drawn taken away; an aligned sample loses only what always goes."""
        if isinstance(sample, AlignedSample):
            return aligned_without(sample, self.always)
        drawn = {name for name, share in self.probabilities.items() if draws("modality dropout", name).random() < share}
        there = set(user_modalities(sample))
        gone = self.always | drawn if there - self.always - drawn else self.always
        return without(sample, gone)


def aligned_without(sample: AlignedSample, modalities: Collection[Modality]) -> AlignedSample:
    """The sample without its segments of some modalities."""
    if not any(item.modality in modalities for item in sample.segments):
        return sample
    return replace(sample, segments=tuple(item for item in sample.segments if item.modality not in modalities))
