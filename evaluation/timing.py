"""How long a model takes to answer, measured where it is evaluated."""

from __future__ import annotations

import time
from typing import Any

from data.batching.interleave import Interleaver
from data.chat import ChatTokenizer
from evaluation.answering.predict import predict
from evaluation.answering.questions import read_samples
from evaluation.settings import Settings
from fusion.model import FusionModel

# The fastest of so many repetitions counts: what other work on the machine takes away is not the model's.
REPETITIONS = 3


def answering_time(
    model: FusionModel, tokenizer: ChatTokenizer, interleaver: Interleaver, settings: Settings
) -> dict[str, Any]:
    """Seconds a question and the size of the batch, from the first batch of the first task; nothing without one.

    From media as they are stored to the answer as text. A batch has each prompt once.
    """
    source = next(iter(settings.tasks.values()), None)
    samples = [] if source is None else read_samples(source, [], settings.batch_size)
    if not samples:
        return {}
    seconds = []
    for _ in range(1 + REPETITIONS):  # the first one makes what later ones find ready
        started = time.perf_counter()
        predict(
            model,
            tokenizer,
            interleaver,
            samples,
            batch_size=settings.batch_size,
            max_new_tokens=settings.max_new_tokens,
            on_bad_sample="skip",
        )
        seconds.append(time.perf_counter() - started)
    return {"seconds_per_sample": min(seconds[1:]) / len(samples), "batch": len(samples)}
