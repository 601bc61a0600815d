"""Training: accumulation by the trainer's own code, and batches that lack a modality."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from certify.context import Context
from certify.result import EXACT, FLOAT32_LOSS, Result, at_most, largest_deviation
from data.batching.document import Document
from data.types import TEXT, UNSUPERVISED
from fusion.mode import switched
from fusion.model import FusionModel
from training.steps.accumulation import accumulate


def accumulated_equals_large_batch(context: Context) -> Result:
    """Gradients of micro-batches of uneven supervision, one without any, against a mean over all terms at once.

    The reference is written out here: the sum of the objective over one batch, over the number of its terms. The
    gradients are those of the model, and of what the objective learns itself.
    """
    documents = context.documents()
    documents.append(_unsupervised(documents[0]))
    groups = [documents[:1], documents[-1:], documents[1:3], documents[3:-1]]
    micro_batches = [context.packed(group) for group in groups if group]
    learning = nn.ModuleList([context.model, context.objective])
    with switched(context.model, training=False):
        learning.zero_grad()
        terms = context.objective(context.model, context.batched(documents))
        (terms.sum / terms.count).backward()
        reference = [_gradients(module) for module in learning]
        learning.zero_grad()
        totals = accumulate(context.model, context.objective, micro_batches)
        largest = largest_deviation(zip(map(_gradients, learning), reference, strict=True))
        learning.zero_grad()
    counts = " + ".join(str(batch.num_supervised) for batch in micro_batches)
    if totals.count != terms.count:
        largest = max(largest, abs(totals.count - terms.count))
    return at_most("accumulated = one large batch, gradients", largest, FLOAT32_LOSS, f"{counts} supervised tokens")


def trains_without_a_modality(context: Context) -> Result:
    """One update by the configured optimizer on batches that lack each modality in turn, and all of them.

    The loss must be finite; every parameter must have a finite gradient and stay finite; those of a modality that is
    absent must have a gradient of 0; and every part that was used must move.
    """
    wrong: list[str] = []
    media = context.model.modalities[1:]
    absences = list(dict.fromkeys([*((name,) for name in media), media]))
    for absent in absences:
        documents = [d for d in context.documents() if not {name for name, _ in d.media} & set(absent)]
        present = {name for d in documents for name, _ in d.media} | {TEXT}
        wrong += [f"without {', '.join(absent)}: {problem}" for problem in _problems(context, documents, present)]
    detail = wrong[0] if wrong else "; ".join("without " + (", ".join(names) or "media") for names in absences)
    return at_most("a batch without a modality trains", len(wrong), EXACT, detail)


def _problems(context: Context, documents: list[Document], present: set[str]) -> list[str]:
    model = deepcopy(context.model).train()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = context.optimizer(model)
    totals = accumulate(model, context.objective, [context.packed(documents)])
    found = [] if np.isfinite(totals.mean) else [f"the loss is {totals.mean}"]
    for name, parameter in model.named_parameters():
        found += _gradient_problems(name, parameter, present)
    optimizer.step()
    moved = [name for name, p in model.named_parameters() if _learns(p) and (p != before[name]).any()]
    found += [
        f"{name} is not finite after the update" for name, p in model.named_parameters() if not p.isfinite().all()
    ]
    for part in _parts(model, present):
        if not any(name.startswith(part) for name in moved):
            found.append(f"nothing in {part} learned")
    return found


def _learns(parameter: nn.Parameter) -> bool:
    """Whether it has a gradient that is not 0; weight decay alone moves what learns nothing."""
    return parameter.grad is not None and bool((parameter.grad != 0).any())


def _gradient_problems(name: str, parameter: nn.Parameter, present: set[str]) -> list[str]:
    if not parameter.requires_grad:
        return []
    if parameter.grad is None:
        return [f"{name} has no gradient"]
    if not parameter.grad.isfinite().all():
        return [f"the gradient of {name} is not finite"]
    absent = name.startswith("media_encoders.") and name.split(".")[1] not in present
    return [f"{name} is absent, but its gradient is not 0"] if absent and (parameter.grad != 0).any() else []


def _parts(model: FusionModel, present: set[str]) -> list[str]:
    """Prefixes of the names of parameters that must learn: what is not a medium, the media that are present.

    Of the fusion method, each block. No document is aligned, so that a shared space has nothing to learn from.
    """
    children = [
        f"{name}." for name, child in model.named_children() if any(p.requires_grad for p in child.parameters())
    ]
    blocks = [f"fusion.blocks.{index}." for index in range(len(model.fusion.blocks))]
    media = [f"media_encoders.{name}." for name in model.media_encoders if name in present]
    return [name for name in children if name not in ("media_encoders.", "shared_space.")] + blocks + media


def _unsupervised(document: Document) -> Document:
    none = np.full(len(document), UNSUPERVISED)
    return replace(
        document, labels=none, label_groups=np.full(len(document), -1), sample_id=f"{document.sample_id} unsupervised"
    )


def _gradients(model: nn.Module) -> Tensor:
    """All gradients as one vector; a missing one is not a number, so that it never equals another."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    missing = torch.nan
    gradients = [torch.full_like(p, missing) if p.grad is None else p.grad for p in parameters]
    return torch.cat([gradient.flatten() for gradient in gradients] or [torch.zeros(0)])
