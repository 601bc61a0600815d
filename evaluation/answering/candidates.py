"""Among which answers a model chooses the expected one: those that a row names, or answers to other questions."""

from __future__ import annotations

from collections.abc import Sequence

from data.randomness import generator
from data.types import Message, Sample, Text
from evaluation.answering.audit import expected_answer
from evaluation.answering.reply import canonical


def candidates_of(
    task: str, samples: Sequence[Sample], clusters: Sequence[str], count: int, seed: int
) -> list[tuple[Message, ...]]:
    """The candidates of each sample, the expected answer first.

    A row that names `choices` has these. For any other, `count` - 1 distinct answers are drawn from those that the task
    expects elsewhere, or all if they are fewer. None is drawn that a question of the same cluster expects: another
    caption of the same picture is right as well. The same for the same seed and task name.
    """
    pool: dict[str, Message] = {}
    expected_in: dict[str, set[str]] = {}
    for sample, cluster in zip(samples, clusters, strict=True):
        text = canonical(expected_answer(sample))
        pool.setdefault(text, sample.messages[-1])
        expected_in.setdefault(cluster, set()).add(text)
    texts = list(pool)
    found = []
    for place, (sample, cluster) in enumerate(zip(samples, clusters, strict=True)):
        own = sample.messages[-1]
        if sample.choices:
            found.append((own, *named(sample)))
            continue
        rng, others = generator(seed, "candidates", task, place), list[Message]()
        for number in rng.permutation(len(texts)):
            if len(others) == count - 1:
                break
            if texts[number] not in expected_in[cluster]:
                others.append(pool[texts[number]])
        found.append((own, *others))
    return found


def named(sample: Sample) -> list[Message]:
    """The candidates that a row names, but for the expected one."""
    expected = canonical(expected_answer(sample))
    return [Message("assistant", (Text(text),)) for text in sample.choices if canonical(text) != expected]


def chance(candidates: Sequence[Sequence[Message]]) -> float | None:
    """What a model that knows nothing reaches: the mean of 1 / N over questions of N candidates; None without any."""
    shares = [1 / len(answers) for answers in candidates if len(answers) > 1]
    return sum(shares) / len(shares) if shares else None
