"""A loaded checkpoint that answers: loaded once, asked often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from data.build import build_interleaver, build_processors
from data.collate import collate_prompts
from data.interleave import Interleaver
from data.tokenizer import END, Tokenizer
from data.types import Message, Sample, Segment
from fusion.checkpoint import load_model
from fusion.generation import generate
from fusion.model import FusionModel


class Session:
    """Answers to conversations; keeps nothing between two of them."""

    def __init__(self, model: FusionModel, tokenizer: Tokenizer, interleaver: Interleaver) -> None:
        self.model, self.tokenizer, self.interleaver = model.eval(), tokenizer, interleaver

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> Session:
        """The newest checkpoint of a run, or a given step.

        Raises:
            BadInputError: the checkpoint is missing, damaged or of another architecture.
        """
        loaded = load_model(path, device)
        tokenizer = Tokenizer.load(loaded.tokenizer_path)
        config = loaded.config.data
        interleaver = build_interleaver(
            config, tokenizer, build_processors(config), loaded.model.num_tokens, loaded.model.modalities
        )
        return cls(loaded.model, tokenizer, interleaver)

    def answer(self, *segments: Segment, max_new_tokens: int = 32, temperature: float = 0.0, seed: int = 0) -> str:
        """The answer to one question of text and media, in the order in which they are to be read.

        Raises:
            ValueError: there is no segment, or a wrong length or temperature.
            BadSampleError: a medium cannot be read, is of a modality that the model does not know, or is too long.
        """
        if not segments:
            raise ValueError("segments is empty; ask with at least one text, image or sound")
        conversation = [Message("user", segments)]
        return self.reply(conversation, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)

    @torch.inference_mode()
    def reply(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        max_new_tokens: int = 32,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> str:
        """The assistant's next turn in a conversation; the same for the same seed. Raises as `answer` does."""
        sample = Sample("question", tuple(messages), tuple(tools), source="session")
        device = next(self.model.parameters()).device
        prompts = collate_prompts([self.interleaver.prompt(sample)]).to(device)
        (tokens,) = generate(
            self.model,
            prompts,
            end_id=self.tokenizer.id(END),
            max_new_tokens=max_new_tokens,
            forbidden_ids=self.tokenizer.forbidden_in_answers(tools=bool(tools)),
            temperature=temperature,
            generator=torch.Generator(device).manual_seed(seed),
        )
        return self.tokenizer.decode(tokens)
