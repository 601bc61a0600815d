"""A trained model that is asked, embeds and explains.

Shape legend: N items, E width of the shared space, W regions.
"""

from __future__ import annotations

import difflib
from os import PathLike
from pathlib import Path

import numpy as np

from data.device import choose_device
from data.media.given import Content, given
from data.types import TEXT, AlignedSample, BadInputError, Modality, Segment
from evaluation.insight.explanation import Explanation
from evaluation.retrieval.embedding import check_shared_space, embed
from scripts.question import explained
from serving.session import Session


class Model:
    """What `load` returns. It keeps nothing between two calls.

    A question is given by keywords, each the name of a modality of the model. The model reads them in their order.
    Values are what `data.media.given.given` takes: a string for `text`, and for any medium a path or the bytes of a
    file. For `image` a value may also be a picture of PIL or an array, uint8 [h, w, 3]; for `audio` also a pair of
    samples and their rate.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    def __repr__(self) -> str:
        return f"Model({', '.join((TEXT, *self.session.media))})"

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What it can be asked about: text, and the media that its training held."""
        return (TEXT, *self.session.media)

    def answer(self, *, max_new_tokens: int = 32, temperature: float = 0.0, seed: int = 0, **question: Content) -> str:
        """The answer to one question, such as `answer(image="shape.png", text="what color is the circle?")`.

        max_new_tokens: the longest answer, in tokens. temperature: 0 takes the likeliest token every time; above, they
        are drawn by `seed`. The same question has the same answer.

        Raises:
            BadInputError: the model has no such modality or cannot answer at all, or a value cannot be read.
            ValueError: nothing is asked, or `max_new_tokens` or `temperature` is out of range.
        """
        segments = self._segments(question)
        return self.session.answer(*segments, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)

    def explain(self, *, answer: str | None = None, max_new_tokens: int = 32, **question: Content) -> Explanation:
        """What an answer rests on: a score for each region of the question, by gradient and by attention.

        answer: what is explained; None: the model's own answer, of at most `max_new_tokens` tokens.

        Returns:
            The answer, its `probability` given the question, the `regions` (patches of an image, spans of sound,
            words), and `scores`: method -> [W]. A notebook shows it as a picture, and `save(path)` writes that.

        Raises:
            BadInputError, ValueError: as `answer`.
        """
        self.session.check_answer(max_new_tokens)
        if not question:
            raise ValueError("nothing is asked; give text=..., image=... or another modality, or several of them")
        return explained(self.session, self._segments(question), answer, max_new_tokens)

    def embed(self, **items: Content | list[Content]) -> np.ndarray:
        """Vectors in the shared space, of one item, [E], or of each in a list, [N, E], all of one modality.

        Vectors have length 1, so that their inner product is their cosine: `embed(text=[...]) @ embed(image="a.png")`.

        Raises:
            BadInputError: the model has no shared space or no such modality, or an item cannot be read.
            TypeError: not exactly one modality is given.
        """
        if len(items) != 1:
            raise TypeError(f"embed takes items of one modality, not of {len(items)} ({', '.join(items) or 'none'})")
        check_shared_space(self.session.model)
        ((modality, value),) = items.items()
        values = value if isinstance(value, list) else [value]
        if not values:
            raise BadInputError(f"{modality}: is an empty list; give at least one item")
        samples = [
            AlignedSample(str(place), (self._segment(modality, item),), source=modality)
            for place, item in enumerate(values)
        ]
        vectors = embed(self.session.model, self.session.interleaver, samples)[modality].values
        return vectors if isinstance(value, list) else vectors[0]

    def _segments(self, question: dict[str, Content]) -> list[Segment]:
        return [self._segment(modality, value) for modality, value in question.items()]

    def _segment(self, modality: Modality, value: Content) -> Segment:
        if modality != TEXT and (reason := self.session.refusal(modality)) is not None:
            close = difflib.get_close_matches(modality, self.modalities, n=1)
            hint = f"; the nearest is {close[0]}" if close and close[0] != modality else ""
            raise BadInputError(f"{modality}: {reason}{hint}")
        return given(modality, value, self.session.interleaver.background)


def load(run: str | PathLike[str], *, which: str = "newest", device: str = "cpu") -> Model:
    """The model of a run: a folder that `train` or scripts/train.py made, one of its checkpoints, or a `Run`.

    which: newest, or best by `trainer.best_metric`, of a run's checkpoints. device: auto, cpu or cuda.

    Raises:
        BadInputError: there is no such checkpoint or device, or the checkpoint is damaged or of another architecture.
    """
    try:
        chosen = choose_device(device)
    except ValueError as error:
        raise BadInputError(str(error)) from error
    return Model(Session.load(Path(run).expanduser(), chosen, which))
