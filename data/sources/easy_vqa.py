"""EasyVQA (package `easy-vqa`, V. Zhou): 5,000 drawn images of one shape each, with questions of 13 answers.

The official split is kept: its test images are for the final evaluation alone. One tenth of the training images, drawn
with a fixed seed, is held out for validation. Questions are typed, or spoken by synthetic voices of their split.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from data.media.image import read_image
from data.media.speech import ESPEAK, MixedBank, mixed_bank
from data.randomness import generator
from data.storage.array_store import StoredClip
from data.storage.growing_store import render_clips
from data.synthesisers.base import ClipSpec, check_split
from data.types import AUDIO, IMAGE, TEXT, BadInputError, Media, Message, Modality, Sample, Segment, Text

VALIDATION_SHARE = 0.1
SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
QUESTIONS = ("typed", "spoken")
# Of every question and training voice; banks of as many are shared.
CLIPS_PER_VOICE = 2
TRANSCRIBE = "transcribe"
DESCRIBE = "describe"


@dataclass(frozen=True)
class Question:
    """A question about an image, and its answer."""

    text: str
    answer: str
    image: int

    @property
    def answer_type(self) -> str:
        """`yes_no`, `shape` or `colour`."""
        if self.answer in ("yes", "no"):
            return "yes_no"
        return "shape" if self.answer in SHAPES else "colour"

    @property
    def template(self) -> str:
        """The question with its shape and colour words replaced."""
        text = re.sub(rf"\b({'|'.join(COLOURS)})\b", "<colour>", self.text)
        return re.sub(rf"\b({'|'.join(SHAPES)})\b", "<shape>", text)


@lru_cache(maxsize=3)
def read_questions(split: str) -> tuple[Question, ...]:
    """The questions of a split, in the order of the package's file.

    Raises `BadInputError` when the package is missing or its file cannot be read.
    """
    check_split(split)
    path = _official_folder(split) / "questions.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        questions = [Question(text, answer, image) for text, answer, image in rows]
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(f"{path}: not the questions of EasyVQA ({error})") from error
    if split == "test":
        return tuple(questions)
    images = sorted({question.image for question in questions})
    # Part of what this data set is, like the official split: another seed would ask old models about training images.
    held_out = np.random.default_rng(0).permutation(images)[: round(VALIDATION_SHARE * len(images))]
    chosen = set(held_out.tolist()) if split == "validation" else set(images) - set(held_out.tolist())
    return tuple(question for question in questions if question.image in chosen)


def _official_folder(split: str) -> Path:
    try:
        import easy_vqa
    except ImportError as error:
        raise BadInputError("EasyVQA needs its package: pip install easy-vqa") from error
    return Path(easy_vqa.__file__).parent / "data" / ("test" if split == "test" else "train")


class _Images:
    """The images of a split, read when they are first asked for and kept as bytes."""

    def __init__(self, split: str) -> None:
        self.folder = _official_folder(split) / "images"
        self._kept: dict[int, Tensor] = {}

    def __getitem__(self, image: int) -> Media:
        if image not in self._kept:
            self._kept[image] = read_image(Media(IMAGE, self.folder / f"{image}.png"))
        return Media(IMAGE, self._kept[image])


class EasyVqa:
    """Training conversations: an image, then some of its questions in random order, with their answers.

    turns: questions per image. spoken: share of the questions that are spoken. transcribe: share of the spoken ones
    that are transcribed: after the answer the user asks for a transcript. describe: share of the images that are
    described at the end ("blue circle", put together from the answers; where these do not tell both, nothing is asked).
    clips_per_voice: see `data.media.speech.speech_bank`. families: how often each family of synthesisers speaks, see
    `data.media.speech.mixed_bank`.
    """

    def __init__(
        self,
        split: str = "train",
        turns: int = 6,
        spoken: float = 0.5,
        transcribe: float = 0.0,
        describe: float = 0.0,
        clips_per_voice: int = CLIPS_PER_VOICE,
        families: Mapping[str, float] | None = None,
    ) -> None:
        if split == "test":
            raise ValueError("split='test' must not be trained on; choose train or validation")
        if turns < 1:
            raise ValueError(f"turns={turns} must be 1 or more")
        for name, share in (("spoken", spoken), ("transcribe", transcribe), ("describe", describe)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name}={share} must be in [0, 1]")
        self.split, self.turns = split, turns
        self.spoken, self.transcribe, self.describe = spoken, transcribe, describe
        by_image: dict[int, list[Question]] = defaultdict(list)
        for question in read_questions(split):
            by_image[question.image].append(question)
        self._by_image = sorted(by_image.items())
        self._descriptions = [description(questions) for _, questions in self._by_image]
        self._images = _Images(split)
        shares = families or {ESPEAK: 1.0}
        self._bank = mixed_bank(_sentences(), split, clips_per_voice, shares) if spoken else None
        self.stores = self._bank.stores if self._bank is not None else []
        self.modalities = _modalities(self._bank)

    def __len__(self) -> int:
        return len(self._by_image)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """The conversation about image `index`; `rng` draws questions, modality and voice."""
        image, questions = self._by_image[index]
        messages: list[Message] = []
        order, aloud, voices, transcripts, descriptions = rng.spawn(5)
        for place in order.permutation(len(questions))[: self.turns]:
            is_spoken, is_transcribed = aloud.random() < self.spoken, transcripts.random() < self.transcribe
            messages += self._asked(questions[place], is_spoken, is_transcribed, voices)
        # Last, or the questions could be answered from the description in place of the image.
        if descriptions.random() < self.describe and (told := self._descriptions[index]):
            messages += _turn((Text(DESCRIBE),), told)
        first = Message("user", (self._images[image], *messages[0].content))
        return Sample(
            str(image), (first, *messages[1:]), source="easy_vqa", origin=f"easy_vqa/{self.split} image {image}"
        )

    def texts(self) -> Iterable[str]:
        """Questions, answers and requests."""
        yield from (TRANSCRIBE, DESCRIBE)
        for question in read_questions(self.split):
            yield question.text
            yield question.answer

    def _asked(
        self, question: Question, is_spoken: bool, is_transcribed: bool, voices: np.random.Generator
    ) -> list[Message]:
        if self._bank is None:
            return _turn((Text(question.text),), question.answer)
        clip, _ = self._bank.draw(question.text, voices)  # typed or not, so that the next has the same voice
        if not is_spoken:
            return _turn((Text(question.text),), question.answer)
        messages = _turn((Media(AUDIO, clip),), question.answer)
        if is_transcribed:
            messages += _turn((Text(TRANSCRIBE),), question.text)
        return messages


class EasyVqaQuestions:
    """One sample per question, for evaluation: user [image, question], assistant [answer].

    questions: "typed" or "spoken"; a spoken question always has the same voice of the split. max_samples: only so many,
    drawn from all images with a fixed seed, the same ones typed and spoken. family: of the synthesisers that speak.
    """

    def __init__(self, split: str, questions: str, max_samples: int | None = None, family: str = ESPEAK) -> None:
        if questions not in QUESTIONS:
            raise ValueError(f"questions={questions!r} must be one of {', '.join(QUESTIONS)}")
        if max_samples is not None and max_samples < 1:
            raise ValueError(f"max_samples={max_samples} must be 1 or more")
        self.split, self.questions = split, questions
        self._questions = list(enumerate(read_questions(split)))
        if max_samples is not None and max_samples < len(self._questions):
            chosen = generator(0, "easy_vqa questions").permutation(len(self._questions))[:max_samples]
            self._questions = [self._questions[i] for i in sorted(chosen.tolist())]
        self._images = _Images(split)
        clips_per_voice = CLIPS_PER_VOICE if split == "train" else 1
        shares = {family: 1.0}
        bank = mixed_bank(_sentences(), split, clips_per_voice, shares) if questions == "spoken" else None
        self.modalities = _modalities(bank)
        self._clips = [] if bank is None else [self._voiced(bank, number, q) for number, q in self._questions]
        # Now: it may take a minute, and what is missing should be told before a training starts.
        render_clips([clip for clip, _ in self._clips])

    def __len__(self) -> int:
        return len(self._questions)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Question `index`, the same on every call."""
        number, question = self._questions[index]
        metadata = {
            "image": str(question.image),
            "question": question.text,
            "answer_type": question.answer_type,
            "template": question.template,
            "pair": f"easy_vqa/{self.split} question {number}",
            "carrier": TEXT,
        }
        asked: Segment = Text(question.text)
        if self._clips:
            clip, spec = self._clips[index]
            asked = Media(AUDIO, clip)
            metadata |= {"voice": spec.voice, "synthesiser": spec.family, "carrier": AUDIO}
        messages = (
            Message("user", (self._images[question.image], asked)),
            Message("assistant", (Text(question.answer),)),
        )
        origin = f"easy_vqa/{self.split} question {number}"
        return Sample(str(number), messages, source="easy_vqa", origin=origin, metadata=metadata)

    def _voiced(self, bank: MixedBank, number: int, question: Question) -> tuple[StoredClip, ClipSpec]:
        return bank.draw(question.text, generator(0, "easy_vqa voice", self.split, number))

    def texts(self) -> Iterable[str]:
        """Questions and answers."""
        for _, question in self._questions:
            yield question.text
            yield question.answer


def description(questions: Iterable[Question]) -> str | None:
    """Colour and shape as far as questions and answers tell them: "blue circle"; None where they do not tell both.

    Every question but one that asks whether something is there presumes what it mentions; and of two words, the one
    in the question is the image's where the answer affirms it.
    """
    told: dict[str, str] = {}
    for question in questions:
        negated = re.search(r"\b(no|not)\b", question.text) is not None
        if question.answer_type != "yes_no":
            told[question.answer_type] = question.answer
        if question.answer_type != "yes_no" or negated == (question.answer == "no"):
            for kind, words in (("colour", COLOURS), ("shape", SHAPES)):
                if mentioned := re.search(rf"\b({'|'.join(words)})\b", question.text):
                    told[kind] = mentioned[1]
    return f"{told['colour']} {told['shape']}" if len(told) == 2 else None


@lru_cache(maxsize=1)
def _sentences() -> tuple[str, ...]:
    """Every sentence that is asked about a training image; the test asks no others."""
    return tuple(sorted({q.text for split in ("train", "validation") for q in read_questions(split)}))


def _modalities(bank: MixedBank | None) -> set[Modality]:
    """The media of samples that take spoken questions from this bank, if there is one."""
    return {IMAGE} if bank is None else {IMAGE, AUDIO}


def _turn(content: tuple[Segment, ...], answer: str) -> list[Message]:
    return [Message("user", content), Message("assistant", (Text(answer),))]
