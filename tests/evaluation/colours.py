"""A task that a tiny model learns in seconds: the colour of an image, asked in text or in sound.

Every image shows one of four colours in noise. Two questions are asked about it, typed or as a whistle that rises
for one and falls for the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from data.batching.collate import collate
from data.batching.interleave import Interleaver
from data.media.audio import AudioProcessor, LogMel
from data.media.image import ImageProcessor
from data.tokenizer import Tokenizer
from data.types import Media, Message, Sample, Text
from encoders.projector import MlpProjector
from encoders.scratch.audio import AudioEncoder
from encoders.scratch.image import ImageEncoder
from encoders.text import TokenEmbedding
from fusion.feed_forward.swiglu import SwiGLU
from fusion.method import FusionMethod
from fusion.methods.early import EarlyFusion
from fusion.mixers.attention import SelfAttention
from fusion.model import FusionModel
from fusion.positions.rope import Rope

SIZE, NUM_MELS, RATE = 8, 8, 8000
COLOURS = {"red": (200, 50, 50), "green": (50, 200, 50), "blue": (50, 50, 200), "white": (200, 200, 200)}
QUESTIONS = ("what color is it?", "is it red?")


class Colours:
    """Questions about `num_images` images, two each, in order."""

    def __init__(self, questions: str = "typed", num_images: int = 24, seed: int = 0) -> None:
        self.questions, self.seed = questions, seed
        rng = np.random.default_rng(seed)
        names = [list(COLOURS)[i % 4] for i in range(num_images)]
        self.images = [(name, colour_image(name, rng)) for name in names]

    def __len__(self) -> int:
        return 2 * len(self.images)

    def texts(self) -> list[str]:
        return [*QUESTIONS, *COLOURS, "yes", "no"]

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        number, question = divmod(index, 2)
        name, image = self.images[number]
        answer = name if question == 0 else ("yes" if name == "red" else "no")
        asked = Text(QUESTIONS[question]) if self.questions == "typed" else Media("audio", whistle(question, index))
        return Sample(
            id=str(index),
            messages=(
                Message("user", (Media("image", image), asked)),
                Message("assistant", (Text(answer),)),
            ),
            source="colours",
            metadata={
                "image": f"{self.seed}-{number}",
                "answer_type": "color" if question == 0 else "yes/no",
                "question": QUESTIONS[question],
            },
        )


def colour_image(name: str, rng: np.random.Generator) -> Tensor:
    """uint8 [3, SIZE, SIZE]."""
    noise = torch.from_numpy(rng.integers(-25, 26, size=(3, SIZE, SIZE)))
    return (torch.tensor(COLOURS[name])[:, None, None] + noise).to(torch.uint8)


def whistle(question: int, index: int) -> Tensor:
    """A tone that rises or falls by two octaves, of a length that varies from clip to clip."""
    generator = torch.Generator().manual_seed(index)
    samples = 800 + int(torch.randint(0, 800, (), generator=generator))
    octaves = torch.linspace(0, 2, samples) if question == 0 else torch.linspace(2, 0, samples)
    phase = torch.cumsum(2 * torch.pi * 500 * 2**octaves / RATE, 0)
    return 0.5 * phase.sin() + 0.01 * torch.randn(samples, generator=generator)


def tiny_model(
    vocab_size: int, seed: int = 0, missing_token: str = "none", fusion: Callable[..., FusionMethod] = EarlyFusion
) -> FusionModel:
    torch.manual_seed(seed)
    mixer = partial(SelfAttention, num_heads=2, num_kv_heads=1, position=Rope)
    return FusionModel(
        d_model=32,
        text=partial(TokenEmbedding, vocab_size=vocab_size),
        encoders={
            "image": ImageEncoder(SIZE, [8, 16], [2, 2], [3, 3], num_layers=1, num_heads=2),
            "audio": AudioEncoder(NUM_MELS, [16, 16], [2, 2], [3, 3], num_layers=1, num_heads=2),
        },
        projector=MlpProjector,
        fusion=partial(fusion, num_layers=2, mixer=mixer, feed_forward=SwiGLU),
        missing_token=missing_token,
    )


def parts(
    seed: int = 0, fusion: Callable[..., FusionMethod] = EarlyFusion
) -> tuple[FusionModel, Tokenizer, Interleaver]:
    """An untrained model with the tokenizer and interleaver that fit it."""
    tokenizer = Tokenizer.train(Colours().texts() * 4, 290)
    model = tiny_model(tokenizer.vocab_size, seed, fusion=fusion)
    features = LogMel(RATE, NUM_MELS, window=200, hop=100)
    processors = {"image": ImageProcessor(SIZE), "audio": AudioProcessor(features)}
    return model, tokenizer, Interleaver(tokenizer, processors, model.layouts, model.modalities, 128)


def learn(model: FusionModel, interleaver: Interleaver, steps: int = 120) -> float:
    """Trains on typed and spoken questions; returns the last loss."""
    rng = np.random.default_rng(0)
    sources = [Colours(kind, 16, seed=1) for kind in ("typed", "spoken")]
    documents = [interleaver.document(source.sample(i, rng)) for source in sources for i in range(len(source))]
    batch = collate([[document] for document in documents])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        logits = model.logits(model(batch).states[batch.labels >= 0])
        loss = torch.nn.functional.cross_entropy(logits, batch.labels[batch.labels >= 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()
