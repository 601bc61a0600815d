"""The questions of `colours.py` as forms of one another, and an asker that needs no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from data.types import Media, Message, Sample, Text
from evaluation.answering.audit import expected_answer
from evaluation.answering.predict import Likelihood, Prediction
from tests.evaluation.colours import Colours


class Paired(Colours):
    """Each question says by what it is paired, and whether it is typed or spoken."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        sample = super().sample(index, rng)
        carrier = "text" if self.questions == "typed" else "audio"
        return replace(sample, metadata={**sample.metadata, "pair": f"question {index}", "carrier": carrier})


class Named(Paired):
    """The colour is shown by a picture and named by a sound (told apart by its length); the question is typed."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        sample = super().sample(2 * index, rng)
        image, _ = sample.messages[0].content
        sound = Media("audio", np_sound(index))
        user = Message("user", (image, sound, Text("which color?")))
        metadata = {"carrier": "image+audio", "question": "which color?", "image": str(index)}
        return replace(sample, messages=(user, sample.messages[1]), metadata=metadata)

    def __len__(self) -> int:
        return len(self.images)


def np_sound(index: int) -> Any:
    import torch

    return torch.full((100,), float(index))


@dataclass
class Answering:
    """Stands in for `Asker`: answers by a function of the sample, and notes what was asked."""

    answer: Callable[[Sample], str]
    loss: Callable[[Sample], float] = lambda sample: 1.0
    asked: dict[str, list[Sample]] = field(default_factory=dict)

    def __call__(
        self, stage: str, samples: Sequence[Sample], metrics: Sequence[Any], candidates: Any, **_: Any
    ) -> list[Prediction]:
        self.asked[stage] = list(samples)
        if metrics[0].uses_answer:
            return [Prediction(sample, expected_answer(sample), self.answer(sample)) for sample in samples]
        found = [Likelihood(("x",), (self.loss(sample),), (2,)) for sample in samples]
        return [
            Prediction(sample, expected_answer(sample), "", likelihood=likely)
            for sample, likely in zip(samples, found, strict=True)
        ]
