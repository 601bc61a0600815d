"""A conversation of typed segments to one stream of tokens, with the marks that say what is supervised.

    <|tools|>[json] <|system|>... <|user|>(media)(media)text <|assistant|>text<|tool_call|>{json}<|end|> <|user|>...

A medium takes as many `<|media|>` placeholders as its encoder says that it becomes tokens. Assistant turns are
supervised, with their calls and the `<|end|>` that closes them; nothing else ever is, a tool's result included. Another
tokenizer may write its turns otherwise (see `data.chat`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from data.bad_samples import reading
from data.batching.absence import aligned_without, without
from data.batching.content import source_key, tokens_key, values_key
from data.batching.document import Document, Turn, assemble
from data.batching.tracks import Track
from data.chat import ChatTokenizer
from data.media.pixels import WHITE, Colour
from data.randomness import Draws
from data.sources.aligned import one_of_each
from data.sources.fields import hint
from data.types import (
    ABSENT_SHAPE,
    IMAGE,
    TEXT,
    Absent,
    AlignedSample,
    BadSampleError,
    LayoutOf,
    Media,
    Message,
    Modality,
    Processor,
    Sample,
    Segment,
    Text,
    ToolCall,
)

ON_LONG_SAMPLE = ("error", "truncate")


class Interleaver:
    """Makes documents of samples.

    processors: how a medium becomes values. layouts: how many tokens values of a shape become, as the model says; of
    `ABSENT_SHAPE`, those that stand for an absent medium. modalities: a modality's place in it is its id,
    "text" is 0. max_tokens: the longest document. on_long_sample: "error", or "truncate" to drop whole trailing
    messages. withheld: modalities; the user's segments of these never reach the model, as if each were absent.
    """

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        processors: Mapping[Modality, Processor],
        layouts: Mapping[Modality, LayoutOf],
        modalities: Sequence[Modality],
        max_tokens: int,
        on_long_sample: str = "error",
        withheld: Collection[Modality] = (),
    ) -> None:
        if not modalities or modalities[0] != TEXT:
            raise ValueError(f"modalities={tuple(modalities)} must begin with {TEXT!r}")
        if max_tokens < 2:
            raise ValueError(f"max_tokens={max_tokens} must be at least 2: one token and the one it predicts")
        if on_long_sample not in ON_LONG_SAMPLE:
            raise ValueError(f"on_long_sample={on_long_sample!r} must be one of {', '.join(ON_LONG_SAMPLE)}")
        self.tokenizer = tokenizer
        self.modalities = tuple(modalities)
        self.max_tokens = max_tokens
        self.on_long_sample = on_long_sample
        self.withheld = frozenset(withheld)
        self._processors = dict(processors)
        self._layouts = dict(layouts)

    @property
    def processed(self) -> frozenset[Modality]:
        """The modalities that have a processor."""
        return frozenset(self._processors)

    @property
    def background(self) -> Colour:
        """On what transparent pictures are laid."""
        return getattr(self._processors.get(IMAGE), "background", WHITE)

    def document(self, sample: Sample | AlignedSample, draws: Draws | None = None) -> Document:
        """The whole conversation with its labels; media are augmented if and only if there are `draws`.

        Raises `BadSampleError`, naming the sample and the place in it, if a medium cannot be read or its modality
        is not configured, if nothing is supervised, or if the sample is too long.
        """
        conversation = without(_conversation(sample), self.withheld)
        turns = self._turns(conversation, conversation.messages, _Augmentations(draws))
        if not any(turn.group for turn in turns):
            raise BadSampleError(f"{sample.name}: has no assistant turn, so there is nothing to learn from it")
        return assemble(conversation, self._fit(conversation, turns))

    def prompt(self, sample: Sample | AlignedSample) -> Document:
        """What the model is given to answer: everything before the final assistant turn, then `<|assistant|>`.

        A sample that ends in another role's message is taken whole. Nothing is supervised, augmented or truncated.
        Raises `BadSampleError` as `document` does, whatever `on_long_sample` is.
        """
        conversation = without(_conversation(sample), self.withheld)
        messages = conversation.messages
        if messages[-1].role == "assistant":
            messages = messages[:-1]
        turns = self._turns(conversation, messages, _Augmentations(None))
        for turn in turns:
            turn.group = None
        opening = Turn()
        opening.add(self.tokenizer.opening("assistant"))
        turns.append(opening)
        total = sum(len(turn.token_ids) for turn in turns)
        if total > self.max_tokens:
            raise self._too_long(sample, total)
        return assemble(conversation, turns)

    def answered(self, sample: Sample | AlignedSample, answers: Sequence[Message]) -> list[Document]:
        """What the model is given to answer, followed by each of these answers, which alone is supervised.

        As `document` makes them of a conversation that ends with that answer, but for the labels of earlier turns;
        media are read once. Nothing is augmented or truncated: raises `BadSampleError` as `prompt` does, and for an
        answer that there is no room for.
        """
        conversation = without(_conversation(sample), self.withheld)
        messages = conversation.messages[:-1]
        turns = self._turns(conversation, messages, _Augmentations(None))
        for turn in turns:
            turn.group = None
        group = f"{sample.source}/{_modality_of_last(messages[-1]) if messages else TEXT}"
        documents = []
        for answer in answers:
            turn = self._answer(answer, group, f"{sample.name}: answer", _Augmentations(None))
            document = assemble(conversation, [*turns, turn])
            if len(document) > self.max_tokens:
                raise self._too_long(sample, len(document))
            documents.append(document)
        return documents

    def aligned(self, sample: Sample | AlignedSample, draws: Draws | None = None, number: int = 0) -> list[Document]:
        """As `segments`; and refuses, by a `BadSampleError`, what a contrastive objective cannot learn from: a
        conversation, and a sample with fewer than two modalities. Of a modality that a sample has several times (five
        captions of a picture) `draws` decide on one.
        """
        if not isinstance(sample, AlignedSample):
            raise BadSampleError(
                f"{sample.name}: is a conversation, which a contrastive objective alone cannot learn from; "
                "give the row `aligned`, or choose an objective that generates too"
            )
        if len({segment.modality for segment in aligned_without(sample, self.withheld).segments}) < 2:
            raise BadSampleError(f"{sample.name}: aligned: must have segments of two modalities or more")
        return self.segments(sample if draws is None else self.chosen(sample, draws), draws, number)

    def chosen(self, sample: AlignedSample, draws: Draws) -> AlignedSample:
        """What the training reads of an aligned sample: nothing that is withheld, and one segment of each modality."""
        return one_of_each(aligned_without(sample, self.withheld), draws("segment"))

    def segments(self, sample: AlignedSample, draws: Draws | None = None, number: int = 0) -> list[Document]:
        """A document for each segment of an aligned sample: the tokens of a text, or the placeholders of a medium.

        number: which aligned sample of the batch this is. Media are augmented if and only if there are `draws`.
        Raises `BadSampleError` if a modality occurs twice, and for a segment that cannot be read, is empty or too long.
        """
        sample = aligned_without(sample, self.withheld)
        found = [TEXT if isinstance(segment, Text) else segment.modality for segment in sample.segments]
        if len(set(found)) < len(found):
            raise BadSampleError(
                f"{sample.name}: aligned: has a modality twice ({', '.join(found)}), must have each once"
            )
        documents, augmentations = [], _Augmentations(draws)
        for index, segment in enumerate(sample.segments):
            turn, where = Turn(), f"{sample.name}: aligned[{index}]"
            self._add_segment(turn, segment, where, augmentations)
            if not 1 <= len(turn.token_ids) <= self.max_tokens:
                size = len(turn.token_ids)
                raise BadSampleError(f"{where}: takes {size} tokens, must take 1 to max_tokens={self.max_tokens}")
            content = self._content(segment, turn, is_augmented=draws is not None)
            documents.append(replace(assemble(sample, [turn]), aligned=number, content=content))
        return documents

    def _content(self, segment: Segment, turn: Turn, is_augmented: bool) -> int:
        if not isinstance(segment, Media):
            return tokens_key(turn.token_ids)
        if is_augmented and getattr(self._processors[segment.modality], "augments", True):
            return source_key(segment)
        return values_key(turn.media[0][1])

    def _turns(self, sample: Sample, messages: Sequence[Message], augmentations: _Augmentations) -> list[Turn]:
        turns, question = [], TEXT
        if sample.tools:
            with reading(f"{sample.name}: tools"):
                turns.append(self._tools(sample.tools))
        for index, message in enumerate(messages):
            where = f"{sample.name}: messages[{index}]"
            if message.role == "assistant":
                turns.append(self._answer(message, f"{sample.source}/{question}", where, augmentations))
            else:
                turns.append(self._message(message, Turn(), where, augmentations))
                question = _modality_of_last(message)
        return turns

    def _tools(self, tools: Sequence[Mapping[str, Any]]) -> Turn:
        turn = Turn()
        turn.add(self.tokenizer.tools(_compact_json(list(tools))))
        return turn

    def _answer(self, message: Message, group: str, where: str, augmentations: _Augmentations) -> Turn:
        if not message.content and not message.tool_calls:
            raise BadSampleError(f"{where}: the assistant's turn has neither content nor tool calls")
        turn = self._message(message, Turn(group), where, augmentations)
        for call in message.tool_calls:
            with reading(f"{where}.tool_calls"):
                turn.add(self.tokenizer.call(call_json(call)), supervised=True)
        closing = self.tokenizer.closing(message.role)
        end = closing.index(self.tokenizer.end_id) + 1
        turn.add(closing[:end], supervised=True)
        turn.add(closing[end:])
        return turn

    def _message(self, message: Message, turn: Turn, where: str, augmentations: _Augmentations) -> Turn:
        turn.add(self.tokenizer.opening(message.role))
        for index, segment in enumerate(message.content):
            self._add_segment(turn, segment, f"{where}.content[{index}]", augmentations)
        if message.role != "assistant":
            turn.add(self.tokenizer.closing(message.role))
        return turn

    def _add_segment(self, turn: Turn, segment: Segment, where: str, augmentations: _Augmentations) -> None:
        try:
            if isinstance(segment, Text):
                turn.add(self.tokenizer.encode(segment.text), supervised=turn.group is not None)
            elif isinstance(segment, Absent):
                self._add_absent(turn, segment.modality)
            else:
                with reading(segment.name):
                    self._add_media(turn, segment, augmentations.next(segment.modality))
        except BadSampleError as error:
            raise BadSampleError(f"{where}: {error}") from error

    def _add_absent(self, turn: Turn, modality: Modality) -> None:
        """The learned token of a medium that is not there, if the model has one."""
        self._check_configured(modality, "encoder in the model", [n for n in self.modalities if n in self._layouts])
        count = self._layouts[modality](ABSENT_SHAPE).count
        turn.add([self.tokenizer.media_id] * count, -self.modalities.index(modality))

    def _check_configured(self, modality: Modality, what: str, configured: Sequence[Modality]) -> None:
        if modality not in configured:
            known = ", ".join(configured) or "none"
            meant = hint(modality, [TEXT, *configured])
            raise BadSampleError(f"modality {modality!r} has no {what}; configured: {known}{meant}")

    def check_media(self, modality: Modality, where: str) -> None:
        """Raises `BadSampleError`, which begins with `where`, if media of this modality could not be read at all."""
        try:
            self._check_media(modality)
        except BadSampleError as error:
            raise BadSampleError(f"{where}: {error}") from error

    def _check_media(self, modality: Modality) -> None:
        self._check_configured(modality, "encoder in the model", [n for n in self.modalities if n in self._layouts])
        self._check_configured(modality, "processor", list(self._processors))

    def _add_media(self, turn: Turn, media: Media, rng: np.random.Generator | None) -> None:
        modality = media.modality
        self._check_media(modality)
        values = self._processors[modality](media, rng)
        if values.is_floating_point() and not bool(values.isfinite().all()):
            raise BadSampleError(f"{media.name}: becomes values that are not finite")
        shape = tuple(values.shape)
        try:
            layout = self._layouts[modality](shape)
        except ValueError as error:
            raise BadSampleError(f"{modality} of shape {shape}: {error}") from error
        if layout.count < 1:
            raise BadSampleError(f"{modality} of shape {shape} becomes {layout.count} tokens, must become at least 1")
        turn.add_tracks([Track(modality, values, layout)], self.tokenizer.media_id, self.modalities)

    def _fit(self, sample: Sample, turns: list[Turn]) -> list[Turn]:
        """The turns that `max_tokens` has room for; a truncated document ends with an assistant's turn."""
        ends = np.cumsum([len(turn.token_ids) for turn in turns])
        if ends[-1] <= self.max_tokens:
            return turns
        answers = [index for index, turn in enumerate(turns) if turn.group and ends[index] <= self.max_tokens]
        if self.on_long_sample == "error" or not answers:
            raise self._too_long(sample, int(ends[-1]))
        return turns[: answers[-1] + 1]

    def _too_long(self, sample: Sample | AlignedSample, total: int) -> BadSampleError:
        return BadSampleError(f"{sample.name}: takes {total} tokens where max_tokens={self.max_tokens}")


class _Augmentations:
    """The generators of one sample's media: each medium has its own, by its modality and place among those of it.

    So no medium changes how another is augmented: not by what is drawn for it, and not by being absent.
    """

    def __init__(self, draws: Draws | None) -> None:
        self._draws, self._seen = draws, Counter[Modality]()

    def next(self, modality: Modality) -> np.random.Generator | None:
        """The generator of the next medium of this modality; None where nothing is augmented."""
        place = self._seen[modality]
        self._seen[modality] += 1
        return self._draws("augmentation", modality, place) if self._draws else None


def call_json(call: ToolCall) -> str:
    """What follows `<|tool_call|>`."""
    return _compact_json({"name": call.name, "arguments": dict(call.arguments)})


def _conversation(sample: Sample | AlignedSample) -> Sample:
    if isinstance(sample, AlignedSample):
        raise BadSampleError(
            f"{sample.name}: is an aligned sample, without turns to generate; "
            "give the row `messages`, or train on it with a contrastive objective"
        )
    if not sample.messages:
        raise BadSampleError(f"{sample.name}: messages is empty")
    return sample


def _modality_of_last(message: Message) -> Modality:
    return message.content[-1].modality if message.content else TEXT


def _compact_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=dict)
