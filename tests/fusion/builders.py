"""Small models and batches with random, non-trivial weights, for tests of encoders and fusion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from data.types import InterleavedBatch, MediaBatch
from encoders.projector import MlpProjector, Projector
from encoders.scratch.audio import AudioEncoder
from encoders.scratch.image import ImageEncoder
from encoders.text import TokenEmbedding
from fusion.feed_forward.swiglu import SwiGLU
from fusion.method import FusionMethod
from fusion.methods.early import EarlyFusion
from fusion.mixers.attention import SelfAttention
from fusion.model import FusionModel
from fusion.positions.rope import Rope
from fusion.spaces.shared_space import SharedSpace

VOCAB_SIZE, NUM_MELS, IMAGE_SIZE = 50, 8, 16


def perturb(module: torch.nn.Module, seed: int = 0) -> None:
    """Moves every parameter, so that ones and zeros of the initialisation hide nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def small_model(
    implementation: str = "auto",
    num_layers: int = 2,
    seed: int = 0,
    fusion: Callable[..., FusionMethod] = EarlyFusion,
    projector: Callable[..., Projector] = MlpProjector,
    shared_space: Callable[..., SharedSpace] | None = None,
    mixer: Any = None,
    feed_forward: Callable[..., torch.nn.Module] = SwiGLU,
    **options: Any,
) -> FusionModel:
    """A model of image, audio and text with perturbed weights; `options` are those of the fusion method.

    mixer: one or a list of them; None: attention.
    """
    torch.manual_seed(seed)
    attention = partial(SelfAttention, num_heads=4, num_kv_heads=2, position=Rope, implementation=implementation)
    model = FusionModel(
        d_model=32,
        text=partial(TokenEmbedding, vocab_size=VOCAB_SIZE),
        encoders={
            "image": ImageEncoder(IMAGE_SIZE, [8, 16], [2, 4], [3, 5], num_layers=1, num_heads=2),
            "audio": AudioEncoder(NUM_MELS, [16, 16], [2, 2], [3, 3], num_layers=1, num_heads=2),
        },
        projector=projector,
        fusion=partial(fusion, num_layers=num_layers, mixer=mixer or attention, feed_forward=feed_forward, **options),
        shared_space=shared_space,
    )
    perturb(model)
    return model


# A document is a list of parts: an int is that many text tokens, "image" an image, ("audio", n) a clip of n frames.
Part = int | str | tuple[str, int]


def batch_of(model: FusionModel, rows: list[list[list[Part]]], seed: int = 0, width: int | None = None):
    """Packs documents into rows by hand, independently of the data package; every second token is supervised."""
    generator = torch.Generator().manual_seed(seed)
    audio_id, image_id = model.modalities.index("audio"), model.modalities.index("image")
    media: dict[str, list[tuple[torch.Tensor, int]]] = {"image": [], "audio": []}
    tokens, modalities, documents, positions = [], [], [], []
    document = 0
    for row in rows:
        columns: list[tuple[int, int, int, int]] = []
        for parts in row:
            place = 0
            for part in parts:
                if isinstance(part, int):
                    ids = torch.randint(1, VOCAB_SIZE, (part,), generator=generator).tolist()
                    modality = 0
                else:
                    name, shape = (
                        ("image", (3, IMAGE_SIZE, IMAGE_SIZE)) if part == "image" else ("audio", (part[1], NUM_MELS))
                    )
                    media[name].append((torch.randn(shape, generator=generator), document))
                    ids = [1] * model.layouts[name](shape).count
                    modality = image_id if name == "image" else audio_id
                columns += [(token, modality, document, place + i) for i, token in enumerate(ids)]
                place += len(ids)
            document += 1
        for target, values in zip((tokens, modalities, documents, positions), zip(*columns, strict=True), strict=True):
            target.append(list(values))
    length = max(max(map(len, tokens)), width or 0)

    def pad(values: list[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([row + [fill] * (length - len(row)) for row in values])

    document_ids, token_ids = pad(documents, -1), pad(tokens, 0)
    even = (pad(positions, 1) % 2 == 0) & (document_ids >= 0)
    labels = torch.where(even, (token_ids * 7 + 3) % VOCAB_SIZE, torch.full_like(token_ids, -100))
    return InterleavedBatch(
        token_ids=token_ids,
        modality_ids=pad(modalities, 0),
        document_ids=document_ids,
        places=pad(positions, 0),
        positions=pad(positions, 0)[..., None],
        labels=labels,
        label_groups=torch.where(labels >= 0, 0, -1),
        group_names=("test/text",),
        sample_ids=tuple(f"document {i}" for i in range(document)),
        media={name: _stack(items) for name, items in media.items() if items},
    )


def _stack(items: list[tuple[torch.Tensor, int]]) -> MediaBatch:
    shapes = torch.tensor([list(values.shape) for values, _ in items])
    padded = torch.zeros(len(items), *shapes.max(0).values.tolist())
    for slot, (values, _) in zip(padded, items, strict=True):
        slot[tuple(slice(0, n) for n in values.shape)] = values
    return MediaBatch(padded, shapes, torch.tensor([document for _, document in items]))
