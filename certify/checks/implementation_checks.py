"""Fast paths against the slow reference, in outputs and in gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from certify.context import Context
from certify.result import ROUNDING, Result, at_most, deviation
from data.types import PADDING_DOCUMENT, InterleavedBatch
from fusion.mode import switched


def outputs_of_implementations(context: Context) -> Result:
    """Logits by every implementation of every kind of module that has several, against its reference."""
    return _compare(context, "fast = slow, outputs", gradients=False)


def gradients_of_implementations(context: Context) -> Result:
    """Gradients of a random projection of the logits with respect to every parameter, likewise."""
    return _compare(context, "fast = slow, gradients", gradients=True)


def _compare(context: Context, name: str, gradients: bool) -> Result:
    """Packed rows and rows of one document each: fast paths tell the two apart."""
    documents = context.documents()
    largest, compared = 0.0, []
    for kind, (reference_name, *others) in kinds_of_implementation(context.model).items():
        for batch in (context.packed(documents), context.batched(documents)):
            with using(context.model, kind, reference_name):
                reference = _results(context, batch, gradients)
            for other in others:
                with using(context.model, kind, other):
                    values = _results(context, batch, gradients)
                largest = max(largest, deviation(values, reference))
        compared.append(f"{kind.__name__}: {', '.join(others)} = {reference_name}")
    return at_most(name, largest, ROUNDING, "; ".join(compared) or "no module has more than one implementation")


def kinds_of_implementation(model: nn.Module) -> dict[type[nn.Module], tuple[str, ...]]:
    """Classes among the model's modules that declare `implementations`, the slow reference first."""
    kinds = {type(module): tuple(getattr(module, "implementations", ())) for module in model.modules()}
    return {kind: names for kind, names in kinds.items() if len(names) > 1}


@contextmanager
def using(model: nn.Module, kind: type[nn.Module], implementation: str) -> Iterator[None]:
    """All modules of one class compute by `implementation`, for a while."""
    modules = [module for module in model.modules() if type(module) is kind]
    before = [module.implementation for module in modules]
    for module in modules:
        module.implementation = implementation  # type: ignore[assignment]
    try:
        yield
    finally:
        for module, name in zip(modules, before, strict=True):
            module.implementation = name


def _results(context: Context, batch: InterleavedBatch, gradients: bool) -> Tensor:
    """Logits at all tokens, or gradients of all parameters, as one vector."""
    model = context.model
    with switched(model, training=False):
        logits = model.logits(model(batch).states)[batch.document_ids != PADDING_DOCUMENT]
    if not gradients:
        return logits.detach().flatten()
    generator = torch.Generator().manual_seed(context.seed)
    projection = torch.randn(logits.shape, generator=generator, dtype=logits.dtype).to(logits)
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad((logits * projection).sum(), parameters, allow_unused=True)
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in zip(parameters, found, strict=True)]
    )
