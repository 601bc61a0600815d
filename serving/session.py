"""A loaded checkpoint that answers: loaded once, asked often."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from data.batching.collate import collate_prompts
from data.batching.interleave import Interleaver
from data.build import build_interleaver, build_processors
from data.chat import ChatTokenizer
from data.sources.base import MESSAGES
from data.tokenizer import Tokenizer
from data.types import TEXT, BadInputError, Message, Modality, Sample, Segment
from fusion.checkpoint import LoadedModel, load_model
from fusion.generation.decoding import generate
from fusion.generation.rules import Forbidden, Sampling
from fusion.model import FusionModel


class Session:
    """Answers to conversations; keeps nothing between two of them."""

    def __init__(
        self,
        model: FusionModel,
        tokenizer: ChatTokenizer,
        interleaver: Interleaver,
        trained_on: Collection[Modality] | None = None,
        silent: str | None = None,
    ) -> None:
        """trained_on: the modalities of the media that the training data held; None if that is not known. silent: why
        the model cannot answer, if it cannot.
        """
        self.model, self.tokenizer, self.interleaver = model.eval(), tokenizer, interleaver
        self.trained_on, self.silent = trained_on, silent

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", which: str = "newest") -> Session:
        """A checkpoint of a run (`which`: newest or best), or a given step.

        Raises:
            BadInputError: the checkpoint is missing, damaged or of another architecture.
        """
        loaded = load_model(path, device, which=which)
        tokenizer = Tokenizer.load(loaded.tokenizer_path)
        config = loaded.config.data
        interleaver = build_interleaver(
            config, tokenizer, build_processors(config), loaded.model.layouts, loaded.model.modalities
        )
        return cls(loaded.model, tokenizer, interleaver, _trained_on(loaded.manifest), _silent(loaded))

    @property
    def media(self) -> tuple[Modality, ...]:
        """The modalities other than text that can be asked about."""
        return tuple(name for name in self.interleaver.modalities if name != TEXT and self.refusal(name) is None)

    def refusal(self, modality: Modality) -> str | None:
        """Why a medium of this modality cannot be asked about; None if it can."""
        if modality == TEXT or modality not in self.interleaver.modalities:
            known = ", ".join(name for name in self.interleaver.modalities if name != TEXT) or "none"
            return f"the checkpoint has no encoder of {modality!r} (it has: {known})"
        if modality not in self.interleaver.processed:
            return f"the checkpoint has no processor of {modality!r}, which would read the file"
        if modality in self.interleaver.withheld:
            return f"{modality} was withheld from the training (data.modality_dropout.{modality}=1): the model saw none"
        if self.trained_on is not None and modality not in self.trained_on:
            return f"the training data held no {modality}: the model saw none"
        return None

    def check_answer(self, max_new_tokens: int) -> None:
        """Raises `BadInputError` if the model has not learned to answer, or never at such length."""
        if self.silent is not None:
            raise BadInputError(self.silent)
        longest = self.interleaver.max_tokens
        if max_new_tokens > longest:
            raise BadInputError(
                f"max_new_tokens={max_new_tokens}: must be at most {longest}: "
                "no document of the training was longer (data.max_tokens)"
            )

    def answer(self, *segments: Segment, max_new_tokens: int = 32, temperature: float = 0.0, seed: int = 0) -> str:
        """The answer to one question of text and media; they are read in the order that they are given in.

        Raises:
            ValueError: there is no segment, or a wrong length or temperature.
            BadInputError: the model has not learned to answer, or never at such length.
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
        self.check_answer(max_new_tokens)
        sample = Sample("question", tuple(messages), tuple(tools), source="session")
        device = next(self.model.parameters()).device
        prompts = collate_prompts([self.interleaver.prompt(sample)]).to(device)
        (tokens,) = generate(
            self.model,
            prompts,
            end_id=self.tokenizer.end_id,
            max_new_tokens=max_new_tokens,
            rules=[
                Forbidden(self.tokenizer.forbidden_in_answers(tools=bool(tools))),
                Sampling(temperature, torch.Generator(device).manual_seed(seed)),
            ],
        )
        return self.tokenizer.decode(tokens)


def _silent(loaded: LoadedModel) -> str | None:
    """Why a model cannot answer: its objective never read a conversation. None if it can."""
    if loaded.learned_from(MESSAGES):
        return None
    return (
        f"{loaded.step_folder}: cannot answer: it was trained by a contrastive objective alone, without "
        "conversations; evaluate.py measures its retrieval"
    )


def _trained_on(manifest: Mapping[str, Any]) -> frozenset[Modality] | None:
    """The modalities of all training sources; None if one did not say its own, or a resume had others."""
    data = manifest.get("data") or {"sources": {}}
    held = [entry.get("modalities") for place, entry in data["sources"].items() if place.startswith("data.sources.")]
    known = held and all(held) and not data.get("changes")
    return frozenset(name for names in held for name in names) if known else None
