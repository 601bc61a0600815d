"""All that metrics need to know of the answers of a model: what it says, and how likely it finds what is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from data.batching.interleave import Interleaver
from data.chat import ChatTokenizer
from data.types import BadInputError, Message, Sample
from evaluation.answering.answer_metrics import AnswerMetric
from evaluation.answering.audit import expected_answer
from evaluation.answering.likelihood import likelihoods
from evaluation.answering.predict import Likelihood, Prediction, predict
from evaluation.settings import Settings
from fusion.model import FusionModel


@dataclass(frozen=True)
class Asker:
    """Asks a model. `stage` is told what is asked, `advance` how many questions are done."""

    model: FusionModel
    tokenizer: ChatTokenizer
    interleaver: Interleaver
    settings: Settings
    on_bad_sample: str
    stage: Callable[[str], None]
    advance: Callable[[int], None]

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
        """What these metrics read of each sample; the answers themselves too if `answers`."""
        handling = on_bad_sample or self.on_bad_sample
        self.stage(stage)
        generates = answers or any(metric.uses_answer for metric in metrics)
        if generates:
            predictions = predict(
                self.model,
                self.tokenizer,
                self.interleaver,
                samples,
                batch_size=self.settings.batch_size,
                max_new_tokens=self.settings.max_new_tokens,
                on_bad_sample=handling,
                advance=self.advance,
            )
        else:
            predictions = [Prediction(sample, expected_answer(sample), "") for sample in samples]
        if all(metric.uses_answer for metric in metrics):
            return predictions
        if not any(metric.uses_candidates for metric in metrics):
            candidates = [answers_of[:1] for answers_of in candidates]
        asked = [place for place, item in enumerate(predictions) if not item.skipped]
        found = likelihoods(
            self.model,
            self.interleaver,
            [samples[place] for place in asked],
            [candidates[place] for place in asked],
            batch_size=self.settings.batch_size,
            on_bad_sample=handling,
            advance=(lambda done: None) if generates else self.advance,
        )
        for place, likelihood in zip(asked, found, strict=True):
            predictions[place] = replace(predictions[place], likelihood=checked(likelihood, samples[place]))
        return predictions


def checked(likelihood: Likelihood | None, sample: Sample) -> Likelihood | None:
    """Raises `BadInputError` for a loss that is no number, of weights that are none."""
    if likelihood is not None and not all(abs(loss) < float("inf") for loss in likelihood.losses):
        raise BadInputError(
            f"{sample.name}: the model's loss is not finite; its weights are broken, choose another step"
        )
    return likelihood
