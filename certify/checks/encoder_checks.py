"""Encoders: items are independent of one another and of padding, and are counted as they are.

Shape legend: N items, T places in an item, D `d_model`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from certify.context import Context
from certify.documents import Shape, accepts, doubled, item_shapes
from certify.result import EXACT, ROUNDING, Result, at_most, largest_deviation
from data.types import MediaBatch
from encoders.base import MediaEncoder
from fusion.mode import switched

MOST_ITEMS = 12


def items_are_independent(context: Context) -> Result:
    """Every second item of a batch is replaced: the tokens of the others must not move. In training mode.

    A batch normalisation, for one, fails here.
    """
    pairs: list[tuple[Tensor, Tensor]] = []
    for encoder, shapes in _encoders(context):
        items = random_items([*shapes, *shapes], context)
        reference = tokens(encoder, items, training=True)
        for remainder in (0, 1):
            others = [item.flip(0) + 1 if i % 2 == remainder else item for i, item in enumerate(items)]
            moved = tokens(encoder, others, training=True)
            pairs += [(m, r) for i, (m, r) in enumerate(zip(moved, reference, strict=True)) if i % 2 != remainder]
    return at_most("items of a modality are independent", largest_deviation(pairs), ROUNDING, _names(context))


def padding_has_no_influence(context: Context) -> Result:
    """Items of all sizes in one padded batch, against each alone."""
    pairs: list[tuple[Tensor, Tensor]] = []
    for encoder, shapes in _encoders(context):
        items = random_items(shapes, context)
        for item, values in zip(items, tokens(encoder, items), strict=True):
            pairs.append((values, tokens(encoder, [item])[0]))
    detail = "; ".join(f"{name}: {len(shapes)} sizes" for name, (_, shapes) in _named(context))
    return at_most("padding of media has no influence", largest_deviation(pairs), ROUNDING, detail or "no encoders")


def tokens_are_counted(context: Context) -> Result:
    """`layout(shape)` against the tokens that come out for an item alone, and the width of the features."""
    wrong, total = [], 0
    for name, (encoder, shapes) in _named(context):
        for shape in shapes:
            media = media_batch(random_items([shape], context))
            with switched(encoder, training=False), torch.no_grad():
                features = encoder.encoder(media)
                layout = encoder.encoder.layout(shape)
                count = torch.tensor([layout.count])
                made = len(encoder.projector(features, count)[0])
            expected = (1, layout.count, encoder.encoder.d_output)
            total += 1
            if tuple(features.shape) != expected or made != encoder.layout(shape).count:
                wrong.append(f"{name} {shape}: {tuple(features.shape)} and {made} tokens, not {expected}")
    return at_most("layout = tokens returned", len(wrong), EXACT, wrong[0] if wrong else f"{total} shapes")


def wrong_shapes_are_refused(context: Context) -> Result:
    """Another rank, an empty axis, or another size of an axis that may not vary must be a `ValueError`.

    An axis may vary if its double or its triple is taken; then only an empty axis is wrong.
    """
    wrong, total = [], 0
    for name, (encoder, _) in _named(context):
        example = encoder.encoder.example_shape
        shapes = [example[1:], (*example, 1), *(_with(example, axis, 0) for axis in range(len(example)))]
        for axis in range(len(example)):
            if not accepts(encoder.layout, doubled(example, axis)):
                shapes += [doubled(example, axis), _with(example, axis, example[axis] + 1)]
        total += len(shapes)
        wrong += [f"{name} accepts {shape}" for shape in shapes if accepts(encoder.layout, shape)]
    return at_most("media of a wrong shape are refused", len(wrong), EXACT, wrong[0] if wrong else f"{total} shapes")


def encoder_parameters_learn(context: Context) -> Result:
    """Every parameter of every encoder and projector must receive a gradient that is finite and not zero."""
    dead, total = [], 0
    for name, (encoder, shapes) in _named(context):
        items = random_items(shapes, context)
        encoder.zero_grad()
        output = encoder(media_batch(items))
        generator = torch.Generator().manual_seed(context.seed)
        (output * torch.randn(output.shape, generator=generator).to(output)).sum().backward()
        total += sum(1 for _ in encoder.parameters())
        dead += [f"{name}: {key}" for key, p in encoder.named_parameters() if p.requires_grad and not _learns(p)]
        encoder.zero_grad()
    return at_most("every weight of an encoder learns", len(dead), EXACT, dead[0] if dead else f"{total} parameters")


def absent_joins_the_graph(context: Context) -> Result:
    """`absent()` must be 0 and give every parameter a gradient, of 0, or processes would wait for one another."""
    wrong = []
    for name, (encoder, _) in _named(context):
        encoder.zero_grad()
        value = encoder.absent()
        if value.item() != 0:
            wrong.append(f"{name}: absent() = {value.item()}")
        if value.requires_grad:
            value.backward()
        for key, parameter in encoder.named_parameters():
            if parameter.requires_grad and (parameter.grad is None or parameter.grad.abs().max() != 0):
                wrong.append(f"{name}: {key} has {'no' if parameter.grad is None else 'a non-zero'} gradient")
        encoder.zero_grad()
    return at_most("an absent modality joins the graph", len(wrong), EXACT, wrong[0] if wrong else _names(context))


def random_items(shapes: Sequence[Shape], context: Context) -> list[Tensor]:
    """One item of each shape, as the model wants it."""
    generator = torch.Generator().manual_seed(context.seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(context.weight) for shape in shapes]


def media_batch(items: Sequence[Tensor]) -> MediaBatch:
    """Items padded with zeros at the end of every axis."""
    shapes = torch.tensor([list(item.shape) for item in items])
    values = items[0].new_zeros((len(items), *shapes.amax(0).tolist()))
    for place, item in zip(values, items, strict=True):
        place[tuple(slice(size) for size in item.shape)] = item
    return MediaBatch(values, shapes, torch.arange(len(items)))


def tokens(encoder: MediaEncoder, items: Sequence[Tensor], training: bool = False) -> list[Tensor]:
    """The tokens [T, D] of each item of one batch."""
    media = media_batch(items)
    with switched(encoder, training), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return list(encoder(media).split(encoder.counts(media)))


def _named(context: Context) -> Iterator[tuple[str, tuple[MediaEncoder, list[Shape]]]]:
    for name, encoder in context.model.media_encoders.items():
        assert isinstance(encoder, MediaEncoder)
        shapes = item_shapes(encoder)
        step = -(-len(shapes) // MOST_ITEMS)
        yield name, (encoder, shapes[::step])


def _encoders(context: Context) -> Iterator[tuple[MediaEncoder, list[Shape]]]:
    return (item for _, item in _named(context))


def _names(context: Context) -> str:
    return ", ".join(context.model.media_encoders) or "no encoders"


def _with(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _learns(parameter: nn.Parameter) -> bool:
    gradient = parameter.grad
    return gradient is not None and bool(gradient.isfinite().all()) and bool((gradient != 0).any())
