"""How likely a model finds the expected answer, and other answers: teacher-forced, as in training.

Documents are those of the interleaver and losses those of the training objective (`fusion.token_loss`), so that the
loss of an answer is what a training would minimise. The token that ends the answer counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from data.batching.collate import collate_prompts
from data.batching.document import Document
from data.batching.interleave import Interleaver
from data.types import BadSampleError, InterleavedBatch, Message, Sample
from evaluation.answering.predict import BATCHES_PER_WINDOW, Likelihood, chunks
from evaluation.answering.reply import reply
from fusion.mode import switched
from fusion.model import FusionModel
from fusion.token_loss import document_losses


@torch.inference_mode()
def likelihoods(
    model: FusionModel,
    interleaver: Interleaver,
    samples: Sequence[Sample],
    candidates: Sequence[Sequence[Message]],
    *,
    batch_size: int = 128,
    on_bad_sample: str = "error",
    advance: Callable[[int], None] = lambda done: None,
) -> list[Likelihood | None]:
    """The likelihood of the candidates of each sample, the expected answer first, in the order of the samples.

    None for a sample that cannot be read, or with an answer that does not fit after its prompt, if `on_bad_sample` is
    "skip". `advance` is told how many samples are done.

    Raises:
        BadSampleError: there is such a sample, and `on_bad_sample` is "error".
    """
    found: list[Likelihood | None] = [None] * len(samples)
    most = max((len(answers) for answers in candidates), default=1)
    for window in chunks(range(len(samples)), max(1, batch_size * BATCHES_PER_WINDOW // most)):
        documents: list[Document] = []
        owners: list[int] = []
        for place in window:
            try:
                own = documents_of(interleaver, samples[place], candidates[place])
            except BadSampleError:
                if on_bad_sample == "error":
                    raise
                continue
            documents += own
            owners += [place] * len(own)
        with switched(model, training=False):
            measured = losses_of(model, documents, batch_size)
        by_owner: dict[int, list[tuple[float, int]]] = {}
        for place, loss in zip(owners, measured, strict=True):
            by_owner.setdefault(place, []).append(loss)
        for place, losses in by_owner.items():
            texts = tuple(reply(answer) for answer in candidates[place][: len(losses)])
            found[place] = Likelihood(texts, tuple(loss for loss, _ in losses), tuple(count for _, count in losses))
        advance(len(window))
    return found


def documents_of(interleaver: Interleaver, sample: Sample, candidates: Sequence[Message]) -> list[Document]:
    """A document for each candidate; that of the expected answer alone where another candidate is too long."""
    try:
        return interleaver.answered(sample, candidates)
    except BadSampleError:
        return interleaver.answered(sample, candidates[:1])


def losses_of(model: FusionModel, documents: Sequence[Document], batch_size: int) -> list[tuple[float, int]]:
    """Summed loss and number of supervised tokens of each document, computed in batches of similar length."""
    found = [(0.0, 0)] * len(documents)
    for places, batch in batches_of(documents, batch_size, next(model.parameters()).device):
        losses, counts = document_losses(model, batch)
        for place, loss, count in zip(places, losses.tolist(), counts.tolist(), strict=True):
            found[place] = (loss, count)
    return found


def batches_of(
    documents: Sequence[Document], batch_size: int, device: torch.device
) -> Iterator[tuple[Sequence[int], InterleavedBatch]]:
    """Documents in batches of similar length, one a row, each batch with the places of its documents."""
    order = sorted(range(len(documents)), key=lambda place: len(documents[place]))
    for places in chunks(order, batch_size):
        yield places, collate_prompts([documents[place] for place in places]).to(device)
