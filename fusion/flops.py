"""Floating-point operations of a document, counted on paper: from shapes, module by module.

A multiplication with its addition is two operations; norms, activations and lookups are free, and causal attention
counts the whole square: the conventions of torch's `FlopCounterMode`, to which tests and certification hold this
counter on documents alone. It is the one that is reported, rather than torch's, for three reasons. A document costs the
same alone, packed, or padded in a batch, because only its own tokens are counted. It costs the same by every
implementation: the dense reference and the folded path do the same for it, although they waste different amounts. And
what a model of any size costs follows from the calls of a small one, which `fusion/sizing.py` needs.

Encoders may be of any library, and keep their width when the model's changes: they are counted by torch while they
run, each medium alone. Projectors, fusion methods and the head are counted here.

A module that computes more than what its children do defines

    def flops(self, *inputs) -> int

for the operations of its own, given what its `forward` was given. It must take widths from itself, and from the
inputs nothing but how many tokens there are and who sees whom. What has neither this nor a rule in `RULES`
counts as free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from data.types import PADDING_DOCUMENT, InterleavedBatch, MediaBatch
from encoders.base import MediaEncoder
from fusion.cache import TokenPlaces
from fusion.mixers.attention import GroupAttention
from fusion.mixers.cross_attention import PairAttention
from fusion.mixers.heads import AttentionHeads
from fusion.mode import switched
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
    """The calls that one document makes, operations of its media in each encoder, positions where the head is read."""

    calls: tuple[Call, ...]
    encoding: Mapping[str, int]
    num_scored: int


def usage(model: FusionModel, document: InterleavedBatch) -> Usage:
    """What `model` is asked to do for a batch of one document without padding, with the head at its labels.

    The document is run once. Each medium is run by itself, lest a longer one in the same document pad it.
    """
    encoding: dict[str, int] = {}
    with switched(model, training=False), torch.no_grad():
        calls = _recorded(model, lambda: model(document), inside=lambda name: not name.startswith(ENCODERS))
        for name, media in document.media.items():
            encoder = model.media_encoders[name]
            assert isinstance(encoder, MediaEncoder)
            for item in _items(media):
                encoding[name] = encoding.get(name, 0) + torch_count(encoder.encoder, partial(encoder.encoder, item))
                calls += _recorded(model, partial(encoder, item), inside=lambda name: ".projector" in name)
    return Usage(tuple(calls), encoding, int((document.labels >= 0).sum()))


@torch.no_grad()
def torch_count(module: nn.Module, run: Callable[[], Any]) -> int:
    """Operations of `run`, which runs `module` or a part of it, as torch's `FlopCounterMode` counts them.

    With attention and encoder layers written out, for it takes the fused ones of the CPU for nothing; and with no
    parameter that asks for a gradient, for without gradients it fails at those that do.
    """
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
        for parameter in learning:
            parameter.requires_grad_(True)
    return int(counter.get_total_flops())


def count(model: FusionModel, document: Usage) -> dict[str, int]:
    """Operations of each part of the model: every encoder, the fusion method, the head.

    The calls may have been recorded from a model of other widths, and `model` may be on the meta device.
    """
    modules = dict(model.named_modules())
    parts = {f"{name}_encoder": document.encoding.get(name, 0) for name in model.media_encoders}
    parts |= {"fusion": 0, "head": 0}
    for call in document.calls:
        first, _, rest = call.name.partition(".")
        part = f"{rest.partition('.')[0]}_encoder" if first == ENCODERS else first
        operations = _own(modules, call)
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
        alone = {"media": kept, "sample_ids": (sample_id,), "skipped": (), "alignment": None}
        yield replace(batch, **alone, **tensors)  # type: ignore[arg-type]


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


def _own(modules: Mapping[str, nn.Module], call: Call) -> int:
    module = modules[call.name]
    if (pairs := PAIRS.get(type(module))) is not None:
        heads = modules[call.name.rpartition(".")[0]]
        assert isinstance(heads, AttentionHeads)
        return 4 * heads.num_heads * heads.head_dim * pairs(*call.inputs)
    if hasattr(module, "flops"):
        return int(module.flops(*call.inputs, **call.keywords))  # type: ignore[operator]
    rule = _rule(module)
    return 0 if rule is None else rule(module, *call.inputs, **call.keywords)


def _rule(module: nn.Module) -> Callable[..., int] | None:
    return next((rule for kind, rule in RULES.items() if isinstance(module, kind)), PAIRS.get(type(module)))


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


def _pairs_in_groups(q: Tensor, k: Tensor, v: Tensor, visibility: Visibility, *_: Any) -> int:
    """Pairs of tokens of one group, both orders and each with itself; padding (-1) has none."""
    groups_BL = visibility.group_ids
    _, counts = torch.unique(groups_BL[groups_BL != PADDING_DOCUMENT], return_counts=True)
    return int((counts**2).sum())


def _pairs_of_documents(q: Tensor, k: Tensor, v: Tensor, queries: TokenPlaces, memory: TokenPlaces) -> int:
    """Every query with all memory of its document."""
    same = queries.documents.flatten()[:, None] == memory.documents.flatten()
    return int((same & (queries.documents.flatten() != PADDING_DOCUMENT)[:, None]).sum())


# What a module of a kind computes by itself, besides what its children do. Attention of torch's does not call its
# child `out_proj`, but takes its weights.
RULES: dict[type[nn.Module] | tuple[type[nn.Module], ...], Callable[..., int]] = {
    nn.Linear: _linear,
    (nn.Conv1d, nn.Conv2d, nn.Conv3d): _convolution,
    nn.MultiheadAttention: _multihead_attention,
}
# Attention without weights of its own: pairs of a query and a key. It is a child of the heads whose widths count.
PAIRS: dict[type[nn.Module], Callable[..., int]] = {
    GroupAttention: _pairs_in_groups,
    PairAttention: _pairs_of_documents,
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


def mean(counts: Sequence[Mapping[str, int]], num_samples: int) -> dict[str, float]:
    """The sum of each part over all documents, per sample; an aligned sample has a document for each segment."""
    parts = dict.fromkeys(part for document in counts for part in document)
    return {part: sum(document.get(part, 0) for document in counts) / num_samples for part in parts}
