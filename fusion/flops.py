"""Floating-point operations of a document, counted on paper: from shapes, module by module.

A multiplication with its addition is two operations; norms, activations and lookups are free, and causal attention
counts the whole square: the conventions of torch's `FlopCounterMode`, to which tests and certification hold this
counter on documents alone. It is the one that is reported, rather than torch's, for three reasons. A document costs the
same alone, packed, or padded in a batch, because only its own tokens are counted. It costs the same by every
implementation: the dense reference and the folded path do the same for it, although they waste different amounts. And
what a model of any size costs follows from the calls of a small one, which `fusion/sizing.py` needs.

A module that computes more than what its children do defines

    def flops(self, *inputs) -> int

for the operations of its own, given what its `forward` was given. It must take widths from itself, and from the
inputs nothing but how many tokens there are and who sees whom. What has neither this nor a rule in `RULES`
counts as free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT, InterleavedBatch, MediaBatch
from encoders.base import MediaEncoder
from fusion.mixers.attention import SelfAttention
from fusion.model import FusionModel
from fusion.sequence import Visibility

ENCODERS = "media_encoders"


@dataclass(frozen=True)
class Call:
    """One call of a module: its dotted name in the model, and what it was given."""

    name: str
    inputs: tuple[Any, ...]
    keywords: Mapping[str, Any]


@dataclass(frozen=True)
class Usage:
    """The calls that one document makes, and the positions at which the head is read."""

    calls: tuple[Call, ...]
    num_scored: int


def usage(model: FusionModel, document: InterleavedBatch) -> Usage:
    """What `model` is asked to do for a batch of one document without padding, with the head at its labels.

    The document is run once. Each medium is run by itself, lest a longer one in the same document pad it.
    """
    media = {name: encoder for name, encoder in model.media_encoders.items() if isinstance(encoder, MediaEncoder)}
    mode = model.training
    model.eval()
    try:
        with slow_encoder_layers(), torch.no_grad():
            calls = _recorded(model, lambda: model(document), inside=lambda name: not name.startswith(ENCODERS))
            for name, encoder in media.items():
                for item in _items(document.media.get(name)):
                    calls += _recorded(model, lambda e=encoder, i=item: e(i), inside=lambda name: True)  # type: ignore[misc]
    finally:
        model.train(mode)
    return Usage(tuple(calls), int((document.labels >= 0).sum()))


def count(model: FusionModel, document: Usage) -> dict[str, int]:
    """Operations of each part of the model: every encoder, the fusion method, the head.

    The calls may have been recorded from a model of other widths, and `model` may be on the meta device.
    """
    modules = dict(model.named_modules())
    parts = {f"{name}_encoder": 0 for name in model.media_encoders} | {"fusion": 0, "head": 0}
    for call in document.calls:
        first, _, rest = call.name.partition(".")
        part = f"{rest.partition('.')[0]}_encoder" if first == ENCODERS else first
        operations = _own(modules[call.name], call)
        if operations:
            parts[part] = parts.get(part, 0) + operations
    parts["head"] += 2 * document.num_scored * model.text.weight.numel()
    return parts


def documents_alone(batch: InterleavedBatch) -> Iterator[InterleavedBatch]:
    """Each document of a batch as a batch of its own, without padding."""
    names = ("token_ids", "modality_ids", "document_ids", "positions", "labels", "label_groups")
    for document, sample_id in enumerate(batch.sample_ids):
        inside = batch.document_ids == document
        tensors: dict[str, Tensor] = {name: getattr(batch, name)[inside][None] for name in names}
        tensors["document_ids"] = torch.zeros_like(tensors["document_ids"])
        media = {name: _of_document(items, document) for name, items in batch.media.items()}
        kept = {name: items for name, items in media.items() if len(items)}
        yield replace(batch, media=kept, sample_ids=(sample_id,), skipped=(), **tensors)  # type: ignore[arg-type]


def _recorded(model: nn.Module, run: Callable[[], Any], inside: Callable[[str], bool]) -> list[Call]:
    """The calls of modules whose operations are counted, while `run` runs."""
    calls: list[Call] = []

    def hook(name: str) -> Callable[..., None]:
        return lambda module, inputs, keywords, output: calls.append(Call(name, inputs, keywords))

    handles = [
        module.register_forward_hook(hook(name), with_kwargs=True)
        for name, module in model.named_modules()
        if inside(name) and (hasattr(module, "flops") or _rule(module) is not None)
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _own(module: nn.Module, call: Call) -> int:
    if hasattr(module, "flops"):
        return int(module.flops(*call.inputs, **call.keywords))  # type: ignore[operator]
    rule = _rule(module)
    return 0 if rule is None else rule(module, *call.inputs, **call.keywords)


def _rule(module: nn.Module) -> Callable[..., int] | None:
    return next((rule for kind, rule in RULES.items() if isinstance(module, kind)), None)


def _linear(m: nn.Linear, x: Tensor) -> int:
    return 2 * prod(x.shape[:-1]) * m.in_features * m.out_features


def _convolution(m: Any, x: Tensor) -> int:
    """Every output place is a product with a kernel over the channels of its group."""
    paddings = m.padding if m.padding != "same" else [d * (k - 1) / 2 for d, k in zip(m.dilation, m.kernel_size)]  # noqa: B905
    paddings = paddings if m.padding != "valid" else [0] * len(m.kernel_size)
    sizes = zip(x.shape[2:], paddings, m.dilation, m.kernel_size, m.stride, strict=True)
    places = prod(int(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, p, d, k, s in sizes)
    return 2 * len(x) * places * m.out_channels * m.in_channels // m.groups * prod(m.kernel_size)


def _multihead_attention(
    m: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> int:
    """Four projections, and the products with keys and with values."""
    axis = 1 if m.batch_first else 0
    batch, queries, keys = query.shape[1 - axis], query.shape[axis], key.shape[axis]
    width = m.embed_dim
    projections = 2 * queries * width * width + keys * width * ((m.kdim or width) + (m.vdim or width))
    return 2 * batch * (projections + 2 * queries * keys * width)


def _self_attention(m: SelfAttention, x_BLD: Tensor, visibility: Visibility, *_: Any, **__: Any) -> int:
    return 4 * m.num_heads * m.head_dim * visible_pairs(visibility.group_ids)


def visible_pairs(groups_BL: Tensor) -> int:
    """Pairs of tokens of one group, both orders and each with itself; padding (-1) has none."""
    _, counts = torch.unique(groups_BL[groups_BL != PADDING_DOCUMENT], return_counts=True)
    return int((counts**2).sum())


# What a module of a kind computes by itself, besides what its children do. Attention of torch's does not call its
# child `out_proj`, but takes its weights.
RULES: dict[type[nn.Module] | tuple[type[nn.Module], ...], Callable[..., int]] = {
    nn.Linear: _linear,
    (nn.Conv1d, nn.Conv2d, nn.Conv3d): _convolution,
    nn.MultiheadAttention: _multihead_attention,
    SelfAttention: _self_attention,
}


def _items(media: MediaBatch | None) -> list[MediaBatch]:
    """Each item alone, without padding."""
    if media is None:
        return []
    return [
        MediaBatch(
            values[tuple(slice(size) for size in shape)][None], torch.tensor([shape]), media.documents[i : i + 1]
        )
        for i, (values, shape) in enumerate(zip(media.values, media.shapes.tolist(), strict=True))
    ]


def _of_document(media: MediaBatch, document: int) -> MediaBatch:
    """The items of one document, padded to the largest of them."""
    indices = (media.documents == document).nonzero()[:, 0]
    values, shapes = media.values[indices.to(media.values.device)], media.shapes[indices.to(media.shapes.device)]
    if len(indices):
        values = values[(slice(None), *(slice(size) for size in shapes.amax(0).tolist()))]
    return MediaBatch(values, shapes, torch.zeros_like(media.documents[indices.to(media.documents.device)]))


@contextmanager
def slow_encoder_layers() -> Iterator[None]:
    """Without torch's fused inference layer, which does not call its children."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def mean(counts: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """The average of each part over documents."""
    return {part: sum(c.get(part, 0) for c in counts) / len(counts) for part in counts[0]} if counts else {}
