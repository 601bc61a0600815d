"""Floating-point operations of a document, counted on paper: from shapes, module by module.

A multiplication with its addition is two operations. Norms, activations, lookups and sums are free, and causal
attention counts the whole square. These are the conventions of torch's `FlopCounterMode`. Tests and certification hold
this counter to it on documents alone, in the forward and in the backward pass. It is the one that is reported, rather
than torch's, for three reasons. A document costs the same alone, packed, or padded in a batch, because only its own
tokens are counted. It costs the same by every implementation: the dense reference and the folded path do the same for
it, although they waste different amounts. Activations that are computed again for the backward pass are not counted
again. And what a model of any size costs follows from the calls of a small one, which `fusion/cost/sizing.py` needs.

Encoders may be of any library, and keep their width when the model's changes: they are counted by torch while they
run, each medium alone. Projectors, fusion methods, the shared space and the head are counted here. Which gradients are
computed is what autograd says: none for the weights of frozen parts, none for the inputs of the first layers. Not
counted are the products of a contrastive loss, which depend on the batch.

`fusion/cost/products.py` says what each kind of module multiplies, and how a module of another kind says so itself.
One that multiplies without being counted is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from data.types import Alignment, BadInputError, InterleavedBatch, MediaBatch, MediaItems
from encoders.base import MediaEncoder
from fusion.cost.products import Product, rule_of
from fusion.cost.torch_flops import Multiplying, torch_counts
from fusion.mode import switched
from fusion.model import FusionModel

ENCODERS = "media_encoders"


@dataclass(frozen=True)
class Call:
    """One call of a module: its dotted name in the model, and what it was given, without numbers."""

    name: str
    inputs: tuple[Any, ...]
    keywords: Mapping[str, Any]


@dataclass(frozen=True)
class Usage:
    """What one document asks for.

    calls: those of the modules that are counted here. encoding: operations of its media in each encoder, in the forward
    and in the backward pass. num_scored: positions where the head is read; hidden_learns: whether what it reads there
    needs a gradient.
    """

    calls: tuple[Call, ...]
    encoding: Mapping[str, tuple[int, int]]
    num_scored: int
    hidden_learns: bool


def usages(model: FusionModel, batch: InterleavedBatch) -> list[Usage]:
    """What `model` is asked to do for each document of a batch, without padding and with the head at its labels.

    Each document is run once. Each medium is run by itself, so that no longer one in the same document pads it. Items
    of one shape cost an encoder the same, and are counted once.
    """
    known: dict[tuple[str, tuple[int, ...]], tuple[int, int]] = {}
    return [_usage(model, document, known) for document in documents_alone(batch)]


def usage(model: FusionModel, document: InterleavedBatch) -> Usage:
    """The same for a batch of one document without padding."""
    return _usage(model, document, {})


def _usage(
    model: FusionModel, document: InterleavedBatch, known: dict[tuple[str, tuple[int, ...]], tuple[int, int]]
) -> Usage:
    encoding: dict[str, tuple[int, int]] = {}
    hidden: list[Tensor] = []

    def run() -> None:
        hidden.append(model(document).states)
        if model.shared_space is not None and document.alignment is not None:
            model.shared_space(hidden[0], document)

    with switched(model, training=False), torch.enable_grad():
        calls = _recorded(model, run, inside=lambda name: not name.startswith(ENCODERS))
        for name, media in document.media.items():
            encoder = model.media_encoders[name]
            assert isinstance(encoder, MediaEncoder)
            for item in _items(media):
                key = (name, tuple(item.shapes[0].tolist()))
                if key not in known:
                    known[key] = torch_counts(encoder.encoder, partial(encoder.encoder, item))
                forward, backward = (
                    total + new for total, new in zip(encoding.get(name, (0, 0)), known[key], strict=True)
                )
                encoding[name] = (forward, backward)
                calls += _recorded(model, partial(encoder, item), inside=lambda name: ".projector" in name)
    num_scored = int((document.labels >= 0).sum())
    return Usage(tuple(calls), encoding, num_scored, hidden[0].requires_grad)


def count(model: FusionModel, document: Usage) -> dict[str, int]:
    """Operations of the forward pass in each part of the model: encoders, fusion method, head.

    The calls may have been recorded from a model of other widths, and `model` may be on the meta device.
    """
    encoding = {name: forward for name, (forward, _) in document.encoding.items()}
    return _by_part(model, document, encoding, lambda product: product.operations)


def count_backward(model: FusionModel, document: Usage) -> dict[str, int]:
    """The same for the backward pass."""
    encoding = {name: backward for name, (_, backward) in document.encoding.items()}
    return _by_part(model, document, encoding, lambda product: product.backward)


def _by_part(
    model: FusionModel, document: Usage, encoding: Mapping[str, int], size: Callable[[Product], int]
) -> dict[str, int]:
    parts = {f"{name}_encoder": encoding.get(name, 0) for name in model.media_encoders}
    parts |= {"fusion": 0, "head": 0}
    modules = dict(model.named_modules())
    for call in document.calls:
        first, _, rest = call.name.partition(".")
        part = f"{rest.partition('.')[0]}_encoder" if first == ENCODERS else first
        rule, around = rule_of(modules[call.name]), modules[call.name.rpartition(".")[0]]
        assert rule is not None
        operations = sum(size(product) for product in rule(modules[call.name], around, *call.inputs, **call.keywords))
        if operations:
            parts[part] = parts.get(part, 0) + operations
    weight = model.text.head
    gradients = document.hidden_learns + weight.requires_grad
    parts["head"] += size(Product(2 * document.num_scored * weight.numel(), gradients))
    return parts


def _chosen(chosen_BL: Tensor, values: Tensor) -> Tensor:
    """The values of the chosen tokens, as one row."""
    return values[chosen_BL][None]


def documents_alone(batch: InterleavedBatch) -> Iterator[InterleavedBatch]:
    """Each document of a batch as a batch of its own, without padding."""
    for document, sample_id in enumerate(batch.sample_ids):
        tokens = batch.map(partial(_chosen, batch.document_ids == document))
        media = {name: items.of_document(document) for name, items in batch.media.items()}
        kept = {name: items for name, items in media.items() if len(items)}
        yield replace(
            tokens,
            document_ids=torch.zeros_like(tokens.document_ids),
            media=kept,
            sample_ids=(sample_id,),
            skipped=(),
            alignment=_segment(batch, document),
        )


def _recorded(model: nn.Module, run: Callable[[], Any], inside: Callable[[str], bool]) -> list[Call]:
    """The calls of modules with counted operations, while `run` runs.

    Raises `BadInputError` for a module that multiplies and is not counted.
    """
    calls: list[Call] = []

    def hook(name: str) -> Callable[..., None]:
        def record(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            shapes = {key: _shape(value) for key, value in keywords.items()}
            calls.append(Call(name, tuple(map(_shape, inputs)), shapes))

        return record

    counted = {name for name, module in model.named_modules() if inside(name) and rule_of(module) is not None}
    handles = [model.get_submodule(name).register_forward_hook(hook(name), with_kwargs=True) for name in counted]
    try:
        with Multiplying(model) as multiplying:
            run()
    finally:
        for handle in handles:
            handle.remove()
    for name, operation in multiplying.found.items():
        if inside(name) and name not in counted:
            kind = type(model.get_submodule(name)).__name__
            raise BadInputError(
                f"{kind} ({name}) multiplies ({operation}) what nothing counts: say what it costs by a method flops "
                "(see fusion/cost/products.py)"
            )
    return calls


def _shape(value: Any) -> Any:
    """A tensor of numbers without its numbers; ids, and what is no tensor, as they are."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return torch.empty_like(value, device="meta", requires_grad=value.requires_grad)


def _items(media: MediaItems) -> Iterator[MediaBatch]:
    """Each item alone, without padding."""
    for values, shape, document in zip(media.items(), media.shapes, media.documents, strict=True):
        yield MediaBatch(values[None], shape[None], document[None])


def _segment(batch: InterleavedBatch, document: int) -> Alignment | None:
    """What a document is a segment of, alone; None if it is none."""
    if batch.alignment is None or not bool((mine := batch.alignment.documents == document).any()):
        return None
    first = torch.zeros_like(batch.alignment.documents[mine])
    return Alignment(first, first, batch.alignment.modality_ids[mine], batch.alignment.contents[mine])


def mean(counts: Sequence[Mapping[str, int]], num_samples: int) -> dict[str, float]:
    """The sum of each part over all documents, per sample; an aligned sample has a document for each segment."""
    parts = dict.fromkeys(part for document in counts for part in document)
    return {part: sum(document.get(part, 0) for document in counts) / num_samples for part in parts}
