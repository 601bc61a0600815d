"""Greedy answers of a model to many samples, in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from data.batching.collate import collate_prompts
from data.batching.document import Document
from data.batching.interleave import Interleaver
from data.chat import ChatTokenizer
from data.types import BadSampleError, Sample
from evaluation.answering.audit import expected_answer
from evaluation.answering.identity import prompt_key
from evaluation.answering.reply import decoded, may_call, same_reply
from fusion.generation.decoding import generate
from fusion.generation.rules import Forbidden
from fusion.model import FusionModel

# Prompts are sorted by length within so many batches, which bounds the media that are held at once.
BATCHES_PER_WINDOW = 16
Item = TypeVar("Item")


@dataclass(frozen=True)
class Likelihood:
    """The candidates of a question, the expected answer first, with the loss of each.

    losses: negative log-likelihood, summed over its tokens, in nats. tokens: how many, the end among them.
    """

    answers: tuple[str, ...]
    losses: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def per_token(self) -> list[float]:
        """Mean negative log-likelihood of a token of each candidate. They are compared by it."""
        return [loss / count for loss, count in zip(self.losses, self.tokens, strict=True)]

    @property
    def choice(self) -> float | None:
        """1 if the expected answer is the likeliest by token, 0 if not, the share of a tie; None without a choice."""
        if len(self.answers) < 2:
            return None
        losses = self.per_token
        return losses.count(losses[0]) ** -1 if losses[0] == min(losses) else 0.0

    @property
    def chosen(self) -> str:
        """The candidate that is the likeliest by token, the first of several."""
        losses = self.per_token
        return self.answers[losses.index(min(losses))]


@dataclass(frozen=True)
class Prediction:
    """An answer and the expected one, both as `evaluation.answering.reply` writes them.

    `skipped` says why a sample could not be asked, else it is empty. `cluster` names the answers that stand or fall
    with this one (see `evaluation.answering.clusters`). If it is empty, this one is alone. `likelihood` is that of the
    expected answer and of other candidates, where it was measured.
    """

    sample: Sample
    expected: str
    answer: str
    skipped: str = ""
    cluster: str = ""
    likelihood: Likelihood | None = None

    @property
    def correct(self) -> bool:
        """Words match but for case and white space, tool calls by name and arguments."""
        return not self.skipped and same_reply(self.answer, self.expected)


def clusters(predictions: Sequence[Prediction]) -> list[str]:
    """With what each prediction is resampled."""
    return [item.cluster or f"alone {place}" for place, item in enumerate(predictions)]


@torch.inference_mode()
def predict(
    model: FusionModel,
    tokenizer: ChatTokenizer,
    interleaver: Interleaver,
    samples: Sequence[Sample],
    *,
    batch_size: int = 128,
    max_new_tokens: int = 16,
    on_bad_sample: str = "error",
    advance: Callable[[int], None] = lambda done: None,
) -> list[Prediction]:
    """One prediction for each sample, in the order of the samples; decoding is greedy.

    Samples that read the same prompt share one answer (see `prompt_key`); this is what makes the audit cheap,
    where removing images leaves few distinct prompts. `advance` is told how many samples are done.

    Raises:
        BadSampleError: a sample cannot be read, unless `on_bad_sample` is "skip".
        ValueError: a wrong `batch_size` or `on_bad_sample`.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    if on_bad_sample not in ("error", "skip"):
        raise ValueError(f"on_bad_sample={on_bad_sample!r} must be 'error' or 'skip'")
    places: dict[Hashable, list[int]] = {}
    for place, sample in enumerate(samples):
        places.setdefault((prompt_key(sample), may_call(sample)), []).append(place)
    answers, reasons = [""] * len(samples), [""] * len(samples)
    for window in chunks(list(places.values()), batch_size * BATCHES_PER_WINDOW):
        documents: dict[bool, list[tuple[Document, list[int]]]] = {False: [], True: []}
        for shared in window:
            try:
                sample = samples[shared[0]]
                documents[may_call(sample)].append((interleaver.prompt(sample), shared))
            except BadSampleError as reason:
                if on_bad_sample == "error":
                    raise
                for place in shared:
                    reasons[place] = str(reason)
                advance(len(shared))
        for calls, found in documents.items():
            found.sort(key=lambda item: len(item[0]))
            for batch in chunks(found, batch_size):
                texts = answer_batch(model, tokenizer, [document for document, _ in batch], max_new_tokens, calls)
                for text, (_, shared) in zip(texts, batch, strict=True):
                    for place in shared:
                        answers[place] = text
                advance(sum(len(shared) for _, shared in batch))
    return [
        Prediction(sample, expected_answer(sample), answer, reason)
        for sample, answer, reason in zip(samples, answers, reasons, strict=True)
    ]


def answer_batch(
    model: FusionModel,
    tokenizer: ChatTokenizer,
    documents: Sequence[Document],
    max_new_tokens: int,
    calls: bool = False,
) -> list[str]:
    """Greedy answers to prompts, one batch; with tool calls only if `calls`."""
    device = next(model.parameters()).device
    prompts = collate_prompts(documents).to(device)
    tokens = generate(
        model,
        prompts,
        end_id=tokenizer.end_id,
        max_new_tokens=max_new_tokens,
        rules=[Forbidden(tokenizer.forbidden_in_answers(tools=calls))],
    )
    return [decoded(tokenizer, ids) for ids in tokens]


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Consecutive slices of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
