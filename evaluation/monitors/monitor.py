"""Validation during training: scores by generation, losses, examples to look at and listen to, attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
from torch import nn

from data.batching.collate import collate_prompts
from data.batching.interleave import Interleaver
from data.chat import ChatTokenizer
from data.display.drawing import attempt
from data.sources.base import Source
from data.types import Media, Modality, Sample
from evaluation.answering.answer_metrics import LARGEST_EXPONENT, METRICS, AnswerMetric
from evaluation.answering.likelihood import likelihoods
from evaluation.answering.metric_choice import default_metrics
from evaluation.answering.predict import Prediction, predict
from evaluation.answering.questions import read_samples
from evaluation.answering.reply import answer_length
from evaluation.insight.attention import Attended, attended_media, draw_attention
from evaluation.insight.attention_mass import attention_mass, mass_scalars
from evaluation.insight.preview import appearance, asked_media, drawn_line, heard, shown_media, words
from evaluation.metrics.metric_names import ACCURACY, CHRF, LOSS, PERPLEXITY
from evaluation.scoring import document_of
from fusion.mode import switched
from fusion.model import FusionModel

Item = TypeVar("Item")
# The attention of so many tasks is drawn: it takes as long as asking hundreds of questions.
MOST_ATTENDED = 4
# A column for each modality that has pictures stands between the first two.
COLUMNS = ("task", "question", "expected", "answer", "right")


class Gallery(Protocol):
    """What the monitor needs of a tracker (see `training/trackers/base.py`)."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Scalars."""
        ...

    def image(self, step: int, name: str, image: Any, caption: str = "") -> None:
        """One picture."""
        ...

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Rows of text, pictures and clips."""
        ...


class Monitor:
    """Called as `monitor(model, step, tracker)`: asks all validation questions and returns scores and losses.

    The loss is that of the expected answers, by one forward pass over `loss_samples` questions of each task, spread
    evenly (None: over all). Of tasks that expect free text (see `evaluation.answering.metric_choice`) there is chrF as
    well.

    Logs to the tracker a table of about `num_examples` questions, spread evenly over and within the tasks, and what the
    answer to one question of each task, of four at most, attends to, if anything (see `attended_media`). It also logs,
    as scalars, how the attention of each layer is divided between modalities, over `mass_samples` questions of each
    task (see `attention_mass`). The questions are the same at every step. An answer may have `max_new_tokens`; None: as
    many as the longest expected one and its end. `image_cell(pixels)` and `audio_cell(samples, rate)` make the cells of
    the tracker's tables; without them cells are words.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        tokenizer: ChatTokenizer,
        interleaver: Interleaver,
        *,
        batch_size: int = 64,
        max_new_tokens: int | None = None,
        num_examples: int = 8,
        mass_samples: int = 16,
        loss_samples: int | None = 512,
        on_bad_sample: str = "error",
        image_cell: Callable[..., Any] | None = None,
        audio_cell: Callable[..., Any] | None = None,
    ) -> None:
        if not sources:
            raise ValueError("sources is empty; there is nothing to validate on")
        for name, value in (("num_examples", num_examples), ("mass_samples", mass_samples)):
            if value < 0:
                raise ValueError(f"{name}={value} must be 0 or more")
        if loss_samples is not None and loss_samples < 1:
            raise ValueError(f"loss_samples={loss_samples} must be 1 or more, or None for all")
        self._unread: list[str] = []
        unread = self._unread if on_bad_sample == "skip" else None
        self._samples: dict[str, list[Sample]] = {
            name: read_samples(source, unread) for name, source in sources.items()
        }
        self._free = [name for name, found in self._samples.items() if CHRF in default_metrics(found)]
        self._on_bad_sample, self._loss_samples = on_bad_sample, loss_samples
        self._tokenizer, self._interleaver = tokenizer, interleaver
        answers = [sample.messages[-1] for samples in self._samples.values() for sample in samples]
        longest = max((answer_length(tokenizer, answer) for answer in answers), default=1)
        self._batch_size, self._max_new_tokens = batch_size, max_new_tokens or longest + 1
        self._per_task, self._mass_samples = -(-num_examples // len(sources)), mass_samples
        self._image_cell, self._audio_cell = image_cell, audio_cell

    @property
    def metrics(self) -> list[str]:
        """Names of what a call returns."""
        own = [f"val/{name}/{metric}" for metric in (ACCURACY, LOSS) for name in self._samples]
        free = [f"val/{name}/{CHRF}" for name in self._free] + ([f"val/{CHRF}"] if self._free else [])
        return [*own, *free, f"val/{ACCURACY}", f"val/{LOSS}", f"val/{PERPLEXITY}", "val/skipped"]

    def __call__(self, model: nn.Module, step: int, tracker: Gallery | None = None) -> dict[str, float]:
        """`val/<task>/accuracy` and `val/<task>/loss` (nats a token) of every task, and their means over the tasks.

        `val/perplexity` is that of the mean loss; `val/<task>/chrf` (0 to 1) and their mean, of free text; and
        `val/skipped`, how many samples could not be used. `model` is a `FusionModel`.
        """
        assert isinstance(model, FusionModel)
        with switched(model, training=False):
            asked = {name: self._ask(model, samples) for name, samples in self._samples.items()}
            predictions = {name: [item for item in found if not item.skipped] for name, found in asked.items()}
            losses = [self._loss(model, found) for found in predictions.values()]
            if tracker is not None and self._per_task:
                self._show(model, step, predictions, tracker)
            if tracker is not None and self._mass_samples:
                self._log_mass(tracker, model, step, predictions)
        accuracies = [accuracy(found) for found in predictions.values()]
        similar = [corpus_score(METRICS[CHRF], predictions[name]) for name in self._free]
        skipped = len(self._unread) + sum(bool(item.skipped) for found in asked.values() for item in found)
        loss = float(np.mean(losses))
        means = [*([float(np.mean(similar))] if similar else []), float(np.mean(accuracies))]
        ends = [loss, math.exp(min(loss, LARGEST_EXPONENT)), float(skipped)]
        return dict(zip(self.metrics, [*accuracies, *losses, *similar, *means, *ends], strict=True))

    def _loss(self, model: FusionModel, predictions: Sequence[Prediction]) -> float:
        """Of the expected answers of one task; not a number if none of them fits after its prompt."""
        asked = [item.sample for item in spread(predictions, self._loss_samples or len(predictions))]
        expected = [(sample.messages[-1],) for sample in asked]
        found = likelihoods(
            model, self._interleaver, asked, expected, batch_size=self._batch_size, on_bad_sample="skip"
        )
        known = [item for item in found if item is not None]
        return sum(item.losses[0] for item in known) / sum(item.tokens[0] for item in known) if known else math.nan

    def _ask(self, model: FusionModel, samples: Sequence[Sample]) -> list[Prediction]:
        return predict(
            model,
            self._tokenizer,
            self._interleaver,
            samples,
            batch_size=self._batch_size,
            max_new_tokens=self._max_new_tokens,
            on_bad_sample=self._on_bad_sample,
        )

    def _show(
        self, model: FusionModel, step: int, predictions: Mapping[str, Sequence[Prediction]], tracker: Gallery
    ) -> None:
        chosen = {name: spread(found, self._per_task) for name, found in predictions.items()}
        rows = [self._row(model, name, prediction) for name, found in chosen.items() for prediction in found]
        # Questions that are about no image need no column for it.
        pictured = [modality for modality in model.modalities if any(modality in row for row in rows)]
        columns = (COLUMNS[0], *pictured, *COLUMNS[1:])
        tracker.table(step, "val/examples", columns, [[row.get(name, "") for name in columns] for row in rows])
        examples = self._attention(model, chosen)
        if examples:
            caption = "attention of the position that begins the answer, mean over heads; or its rollout, where named"
            if (drawn := attempt("val/attention", lambda: draw_attention(examples))) is not None:
                tracker.image(step, "val/attention", drawn, caption)

    def _log_mass(
        self, tracker: Gallery, model: FusionModel, step: int, predictions: Mapping[str, Sequence[Prediction]]
    ) -> None:
        chosen = [item.sample for found in predictions.values() for item in spread(found, self._mass_samples)]
        documents = [found for sample in chosen if (found := document_of(self._interleaver, sample))]
        if documents:
            batch = collate_prompts(documents).to(next(model.parameters()).device)
            if scalars := mass_scalars(attention_mass(model, batch)):
                tracker.log(step, scalars)

    def _row(self, model: FusionModel, task: str, prediction: Prediction) -> dict[str, Any]:
        """Cells by column: a picture of the first medium of each modality that is seen, and a clip to play.

        That is the one which asks, if any does, else the last one.
        """
        sample = prediction.sample
        pictures, clips = self._previews(model, sample)
        question: Any = words(sample, pictures)
        if clips and self._audio_cell is not None:
            asking = [clip for medium, clip in clips if any(medium is item for item in asked_media(sample))]
            question = self._audio_cell(*(asking or [clips[-1][1]])[-1], caption=question)
        cells: dict[str, Any] = {
            modality: self._image_cell(found[0]) if self._image_cell is not None else f"{len(found)} {modality}s"
            for modality, found in pictures.items()
        }
        said = (question, prediction.expected, prediction.answer, "yes" if prediction.correct else "no")
        return cells | dict(zip(COLUMNS, (task, *said), strict=True))

    def _previews(
        self, model: FusionModel, sample: Sample
    ) -> tuple[dict[Modality, list[np.ndarray]], list[tuple[Media, tuple[np.ndarray, int]]]]:
        """Pictures of a prompt's media by modality, and the clips in it; tokens of a sentence are neither."""
        pictures: dict[Modality, list[np.ndarray]] = {}
        clips = []
        for modality, medium, values in shown_media(sample, self._interleaver.prompt(sample)):
            layout = model.feature_layouts[modality](tuple(values.shape))
            clip = heard(medium) if layout.grid is None else None
            if clip is not None:
                clips.append((medium, clip))
            elif values.is_floating_point():
                shown = appearance(medium, values, layout)
                pictures.setdefault(modality, []).append(shown if layout.grid else drawn_line(shown))
        return pictures, clips

    def _attention(
        self, model: FusionModel, chosen: Mapping[str, Sequence[Prediction]]
    ) -> list[tuple[str, list[Attended]]]:
        examples = []
        for number, (name, found) in enumerate(islice((item for item in chosen.items() if item[1]), MOST_ATTENDED)):
            prediction = found[number % len(found)]
            media = attended_media(model, self._interleaver, prediction.sample)
            verdict = "right" if prediction.correct else f"expected {prediction.expected!r}"
            pictured = [medium.modality for medium in media if medium.layout.grid is not None]
            title = f"{name}: {words(prediction.sample, pictured)}  answer {prediction.answer!r}, {verdict}"
            if media:
                examples.append((title, media))
        return examples


def accuracy(predictions: Sequence[Prediction]) -> float:
    """Share of right answers; 0 if no sample could be read."""
    return float(np.mean([item.correct for item in predictions])) if predictions else 0.0


def corpus_score(metric: AnswerMetric, predictions: Sequence[Prediction]) -> float:
    """A score without its interval; 0 if no sample could be read."""
    return float(metric.value(metric.table(predictions).sum(axis=0))) if predictions else 0.0


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` items at even distances, from the first to the last."""
    places = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[place] for place in places]
