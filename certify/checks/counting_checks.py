"""Parameters and operations: what is reported against an independent count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from certify.context import Context
from certify.documents import item_shapes, labelled
from certify.result import EXACT, Result, at_most
from data.batching.document import Document
from data.types import InterleavedBatch
from encoders.base import MediaEncoder
from encoders.projector import LinearProjector, MlpProjector
from encoders.projectors.perceiver_resampler import PerceiverResampler
from encoders.projectors.qformer import QFormer
from encoders.text import TokenEmbedding
from fusion.block import Block
from fusion.cost.counting import flops_per_sample, parameter_counts
from fusion.cost.flops import count, count_backward, documents_alone, usage
from fusion.cost.torch_flops import torch_count, torch_counts
from fusion.feed_forward.swiglu import SwiGLU
from fusion.mixers.attention import SelfAttention
from fusion.mode import switched
from fusion.model import FusionModel

TEXT_TOKENS = 7


def parts_sum_to_total(context: Context) -> Result:
    """Reported parts against the total, and the total against the storage that the weights really take.

    Weights that two modules share, such as a tied head, are stored once and must be counted once.
    """
    counts = parameter_counts(context.model)
    stored = {p.data_ptr(): p.numel() for p in context.model.parameters()}
    parts = sum(count for name, count in counts.items() if name != "total")
    wrong = abs(counts["total"] - sum(stored.values())) + abs(counts["total"] - parts)
    detail = f"{counts['total']:,} = " + " + ".join(f"{n} {c:,}" for n, c in counts.items() if n != "total")
    return at_most("parameter counts add up", wrong, EXACT, detail)


def counts_match_formulas(context: Context) -> Result:
    """Parameters of modules, against a formula on paper that gives their number from the configuration."""
    wrong, modules = 0, 0
    for module in context.model.modules():
        formula = FORMULAS.get(type(module))
        if formula is not None:
            modules += 1
            wrong += abs(formula(module) - sum(p.numel() for p in module.parameters()))
    kinds = sorted({type(m).__name__ for m in context.model.modules() if type(m) in FORMULAS})
    return at_most("parameter counts as on paper", wrong, EXACT, f"{modules} modules: {', '.join(kinds)}")


def weights_are_registered(context: Context) -> Result:
    """No module keeps weights or layers where `parameters()` does not find them: they would never be trained.

    A plain list of parameters is the usual way to lose them.
    """
    known = {id(p) for p in context.model.parameters()} | {id(m) for m in context.model.modules()}
    lost = [
        f"{name or 'model'}.{key}"
        for name, module in context.model.named_modules()
        for key, value in vars(module).items()
        if not key.startswith("_") and any(id(item) not in known for item in _weights(value))
    ]
    return at_most("all weights are registered", len(lost), EXACT, lost[0] if lost else f"{len(known):,} objects")


def operations_scale(context: Context) -> Result:
    """Operations per document do not depend on how many are counted, and are two or more for each weight of a block.

    The document has all modalities. The lower bound is that of a matrix product: every token multiplies and adds each
    weight of a dense layer once.
    """
    document = context.documents()[-1]
    one = flops_per_sample(context.model, context.alone([document])[0])
    two = flops_per_sample(context.model, context.batched([document, document]))
    bound = 2 * len(document) * _dense_weights(context.model)
    wrong = abs(two - one) + max(0.0, bound - one)
    return at_most("operations are counted", wrong, EXACT, f"{one:,.0f} for {len(document)} tokens, bound {bound:,}")


def operations_match_torch(context: Context) -> Result:
    """The counter of `fusion/cost/flops.py` against torch's `FlopCounterMode`, on documents alone, forward and
    backward.

    A text, and each modality followed by as many tokens of text, so that no group of tokens is padded to another.
    """
    largest, details = 0, []
    for document in _even_documents(context):
        batch = next(documents_alone(context.alone([document])[0]))
        asked = usage(context.model, batch)
        ours = [sum(of(context.model, asked).values()) for of in (count, count_backward)]
        theirs = [torch_flops(context.model, batch), torch_backward_flops(context.model, batch)]
        largest = max(largest, *(abs(a - b) for a, b in zip(ours, theirs, strict=True)))
        details.append(f"{document.sample_id} {ours[0]:,} + {ours[1]:,} and {theirs[0]:,} + {theirs[1]:,}")
    return at_most("operations = torch's count", largest, EXACT, "; ".join(details))


def torch_flops(model: FusionModel, batch: InterleavedBatch) -> int:
    """Operations of the forward pass over a batch as torch counts them while it runs."""
    with switched(model, training=False):
        return torch_count(model, lambda: model.logits(model(batch).states[batch.labels >= 0]))


def torch_backward_flops(model: FusionModel, batch: InterleavedBatch) -> int:
    """Operations of the backward pass, likewise, less those of encoders that join the graph without an item."""
    absent = [encoder for name, encoder in model.media_encoders.items() if name not in batch.media]
    joining = [(encoder, encoder.absent) for encoder in absent if isinstance(encoder, MediaEncoder)]
    with switched(model, training=False):
        _, backward = torch_counts(model, lambda: model.logits(model(batch).states[batch.labels >= 0]))
        return backward - sum(torch_counts(encoder, join)[1] for encoder, join in joining)


def _even_documents(context: Context) -> list[Document]:
    rng, model = context.rng(), context.model
    media: list[tuple[tuple[str, Tensor], ...]] = [()]
    for name, encoder in model.media_encoders.items():
        assert isinstance(encoder, MediaEncoder)
        shape = item_shapes(encoder)[-1]
        media.append(((name, torch.from_numpy(rng.standard_normal(shape))),))
    documents = []
    for items in media:
        counts = [model.layouts[name](tuple(values.shape)).count for name, values in items]
        ids = [model.modalities.index(name) for (name, _), n in zip(items, counts, strict=True) for _ in range(n)]
        text = len(ids) or TEXT_TOKENS
        modality_ids = np.array(ids + [0] * text)
        token_ids = rng.integers(context.vocab_size, size=len(modality_ids))
        documents.append(labelled(token_ids, modality_ids, items, "-".join([*(n for n, _ in items), "text"]), rng))
    return documents


def _dense_weights(model: FusionModel) -> int:
    """Weights of the blocks that every token uses, as far as they are known to be dense."""
    blocks = (block for block in model.fusion.layers() if isinstance(block, Block))
    layers = (part for block in blocks for part in (block.mixer, block.feed_forward))
    dense = (layer for layer in layers if isinstance(layer, SwiGLU | SelfAttention))
    return sum(p.numel() for layer in dense for p in layer.parameters() if p.dim() == 2)


def _attention(m: Any) -> int:
    norms = 2 * m.head_dim if isinstance(m.q_norm, nn.RMSNorm) else 0
    return 2 * m.q.in_features * m.head_dim * (m.num_heads + m.num_kv_heads) + norms


def _mlp(m: Any) -> int:
    width, hidden, d_model = m.up.in_features, m.up.out_features, m.down.out_features
    return 2 * width + width * hidden + hidden + hidden * d_model + d_model


def _perceiver(m: Any) -> int:
    width, d_model, hidden = m.input.in_features, m.input.out_features, m.layers[0].up.out_features
    layer = 4 * d_model**2 + 2 * d_model * hidden + 6 * d_model
    return len(m.queries_MD) * d_model + 2 * width + (width + 1) * d_model + len(m.layers) * layer + 2 * d_model


def _qformer(m: Any) -> int:
    (queries, d_model), hidden = m.queries_MD.shape, m.layers[0].up.out_features
    width, reading = m.feature_norm.normalized_shape[0], sum(hasattr(layer, "cross_norm") for layer in m.layers)
    layer = 4 * d_model**2 + 4 * d_model + 2 * d_model * hidden + hidden + d_model + 4 * d_model
    cross = 2 * d_model**2 + 2 * d_model * width + 4 * d_model + 2 * d_model
    ends = queries * d_model + 2 * d_model + 2 * width + (d_model + 1) * d_model
    return ends + len(m.layers) * layer + reading * cross


def _encoder_layer(m: Any) -> int:
    width, hidden = m.linear1.in_features, m.linear1.out_features
    return 4 * width * width + 4 * width + 2 * width * hidden + hidden + width + 4 * width


# Queries, keys, values, output; two norms of a head. Gate, up, down. Norm, then one or two affine maps. One vector per
# token. Attention with biases, two affine maps, two norms. Resamplers: queries, norms, maps, and layers of attention
# and feed-forward.
FORMULAS: dict[type[nn.Module], Callable[[Any], int]] = {
    SelfAttention: _attention,
    SwiGLU: lambda m: 3 * m.gate.in_features * m.gate.out_features,
    LinearProjector: lambda m: 2 * m.linear.in_features + (m.linear.in_features + 1) * m.linear.out_features,
    MlpProjector: _mlp,
    PerceiverResampler: _perceiver,
    QFormer: _qformer,
    TokenEmbedding: lambda m: m.weight.shape[0] * m.weight.shape[1],
    nn.TransformerEncoderLayer: _encoder_layer,
}


def _weights(value: Any) -> Iterator[Tensor | nn.Module]:
    """Parameters, modules and tensors that ask for a gradient, in a value and the collections in it."""
    if isinstance(value, nn.Module) or (isinstance(value, torch.Tensor) and value.requires_grad and value.is_leaf):
        yield value
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _weights(item)
    elif isinstance(value, dict):
        yield from _weights(list(value.values()))
