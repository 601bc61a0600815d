"""Modalities taken away: at random in training (modality dropout), on purpose in evaluation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from data.randomness import Draws
from data.types import TEXT, Absent, AlignedSample, Message, Modality, Sample, Segment


def without(sample: Sample, modalities: Collection[Modality]) -> Sample:
    """The sample without what its user gives of some modalities: text goes, of media it is noted that they are absent.

    Other turns (system messages, earlier answers, the expected answer) stay as they are.
    """

    def rest(content: tuple[Segment, ...]) -> Iterator[Segment]:
        for item in content:
            if item.modality not in modalities:
                yield item
            elif item.modality != TEXT:
                yield Absent(item.modality)

    def emptied(message: Message) -> Message:
        return replace(message, content=tuple(rest(message.content))) if message.role == "user" else message

    return replace(sample, messages=tuple(emptied(message) for message in sample.messages))


def user_modalities(sample: Sample) -> list[Modality]:
    """Modalities of what the user gives, sorted."""
    content = [item for message in sample.messages if message.role == "user" for item in message.content]
    return sorted({item.modality for item in content if not isinstance(item, Absent)})


class ModalityDropout:
    """Takes a whole modality of a sample away, each with a probability of its own (ModDrop, arXiv:1501.00102).

    All segments of a modality go together, so that its absence in training looks as it does in evaluation. Differs
    from ModDrop in that values are not zeroed but gone, and in that a sample keeps all it has where everything would
    go. An answer stays a target although what it was about may be gone: keep the probabilities small.
    """

    def __init__(self, probabilities: Mapping[Modality, float], modalities: Collection[Modality]) -> None:
        for name, probability in probabilities.items():
            if name not in modalities:
                known = ", ".join(modalities)
                raise ValueError(f"modality_dropout.{name}: the model has no such modality; it has {known}")
            if not 0 <= probability < 1:
                raise ValueError(f"modality_dropout.{name}={probability} must be in [0, 1)")
        self.probabilities = {name: value for name, value in sorted(probabilities.items()) if value}

    def __call__(self, sample: Sample | AlignedSample, draws: Draws) -> Sample | AlignedSample:
        """The sample with what is drawn taken away; an aligned sample, which has to have all, as it is."""
        if not self.probabilities or isinstance(sample, AlignedSample):
            return sample
        drawn = {name for name, share in self.probabilities.items() if draws("modality dropout", name).random() < share}
        there = set(user_modalities(sample))
        return without(sample, drawn & there) if there - drawn else sample
