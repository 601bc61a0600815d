"""How likely answers are that a harness asks for, and whether greedy decoding would give them.

Shape legend: B rows of a batch, L tokens in a row, U supervised positions, V vocabulary.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from data.batching.document import Document, Turn, assemble
from data.batching.interleave import Interleaver
from data.chat import ChatTokenizer
from data.types import UNSUPERVISED, BadSampleError, Message, Sample
from evaluation.answering.likelihood import batches_of
from evaluation.external.conversation import has_text, shortened
from fusion.mode import switched
from fusion.model import FusionModel
from fusion.token_loss import supervised_logits


@dataclass(frozen=True)
class Answered:
    """loss: of the supervised tokens, summed, in nats. greedy: whether greedy decoding chooses each of them."""

    loss: float
    greedy: bool


@torch.inference_mode()
def answered(
    model: FusionModel, documents: Sequence[Document], forbidden: Sequence[int], batch_size: int
) -> list[Answered]:
    """What the model says of the supervised tokens of each document, in batches of similar length.

    forbidden: ids that decoding never chooses. The loss is that of the training, over the whole vocabulary.
    """
    device = next(model.parameters()).device
    barred = torch.tensor(list(forbidden), dtype=torch.long, device=device)
    found = [Answered(0.0, True)] * len(documents)
    with switched(model, training=False):
        for places, batch in batches_of(documents, batch_size, device):
            supervised_BL = batch.labels != UNSUPERVISED
            labels_U = batch.labels[supervised_BL]
            logits_UV = supervised_logits(model, model(batch).states, batch)
            loss_U = nn.functional.cross_entropy(logits_UV, labels_U, reduction="none").cpu().double()
            right_U = (logits_UV.index_fill(-1, barred, -torch.inf).argmax(-1) == labels_U).cpu()
            document_U = batch.document_ids[supervised_BL].cpu()
            for number, place in enumerate(places):
                own_U = document_U == number
                found[place] = Answered(float(loss_U[own_U].sum()), bool(right_U[own_U].all()))
    return found


def documents_of(
    interleaver: Interleaver, messages: Sequence[Message], answers: Sequence[Message], name: str
) -> tuple[list[Document], bool]:
    """A document for each answer to a conversation, and whether the beginning of its text had to be left out.

    Raises `BadSampleError` for a medium that cannot be read, and where media and answer alone are too long.
    """
    return _fitted(interleaver, messages, name, lambda long, sample: long.answered(sample, answers))


def prompt_of(interleaver: Interleaver, messages: Sequence[Message], room: int, name: str) -> tuple[Document, bool]:
    """What the model is given to answer, with `room` for so many tokens; the rest is as in `documents_of`."""
    (document,), was_cut = _fitted(interleaver, messages, name, lambda long, sample: [long.prompt(sample)], room)
    return document, was_cut


def rolling_documents(interleaver: Interleaver, tokenizer: ChatTokenizer, text: str, name: str) -> list[Document]:
    """A text that follows nothing, as an assistant's turn without its end. Each token is supervised once.

    A text that does not fit becomes several documents. Each begins the turn anew, and all but the first begin with
    tokens that were supervised before. The last one has as many of these as fit.
    """
    ids, opening = tokenizer.encode(text), tokenizer.opening("assistant")
    size = interleaver.max_tokens - len(opening)
    if size < 2:
        raise BadSampleError(f"data.max_tokens={interleaver.max_tokens}: leaves no room for a text")
    documents, done = [], 0
    while done < len(ids):
        end = min(len(ids), done + size - (done > 0))  # one token of what came before, at least
        turn = Turn(group="text")
        turn.add(opening)
        turn.add(ids[max(0, end - size) : done])
        turn.add(ids[done:end], supervised=True)
        documents.append(assemble(Sample(name, (), source="harness"), [turn]))
        done = end
    return documents


def without_end(document: Document, tokenizer: ChatTokenizer) -> Document:
    """The document, where the token that ends its answer is not supervised."""
    ends = document.labels == tokenizer.end_id
    labels, groups = document.labels.copy(), document.label_groups.copy()
    labels[ends], groups[ends] = UNSUPERVISED, -1
    return replace(document, labels=labels, label_groups=groups)


def _fitted(
    interleaver: Interleaver,
    messages: Sequence[Message],
    name: str,
    make: Callable[[Interleaver, Sample], list[Document]],
    room: int = 0,
) -> tuple[list[Document], bool]:
    """The documents of the conversation, or of what is left of it, that fit into `max_tokens` with `room` to spare."""
    long, was_cut = copy.copy(interleaver), False
    long.max_tokens = sys.maxsize
    while True:
        nothing = Message("assistant", ())
        documents = make(long, Sample(name, (*messages, nothing), source="harness"))
        longest = max(map(len, documents)) + room
        if longest <= interleaver.max_tokens:
            return documents, was_cut
        if not has_text(messages):
            most = interleaver.max_tokens
            raise BadSampleError(f"{name}: takes {longest} tokens without its text, where data.max_tokens={most}")
        messages, was_cut = shortened(messages, longest - interleaver.max_tokens, interleaver.tokenizer), True
