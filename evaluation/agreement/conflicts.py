"""Who wins where two modalities of one sample contradict one another, and whether the model says so.

Conflicts are made of paired rows: what one side carries is put next to what the other side carries for another
question of the same picture, or for another picture of the same question. The rest of both rows must be equal. Half of
the samples give one of them first, half the other. In the same way agreeing samples are made, of the two sides of one
pair. They look as odd as conflicts do, so only what contradicts itself tells the two apart.

Rows may hold contradictions of their own, and say what each modality says: `says_image`, `says_audio` in the metadata.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data.randomness import generator
from data.tokenizer import TOOL_CALL
from data.types import Absent, Message, Sample, Segment, Text
from evaluation.agreement.sides import Pairing, Row
from evaluation.answering.identity import content_key
from evaluation.answering.predict import Prediction
from evaluation.answering.questions import Questions
from evaluation.answering.reply import canonical
from evaluation.metrics.agreement import auroc
from evaluation.metrics.metric_names import ACCURACY
from evaluation.metrics.scores import bootstrap, bootstrap_mean
from evaluation.settings import AgreementOptions, Bootstrap

SAYS = "says_"
NEITHER = "neither"


@dataclass(frozen=True)
class Said:
    """A sample, and the answer that each of its modalities asks for.

    last: the modality that is given last, of a sample that was made. place: where a row is in its task.
    """

    sample: Sample
    says: Mapping[str, str]
    cluster: str
    last: str = ""
    place: int | None = None

    @property
    def is_conflict(self) -> bool:
        """Whether they ask for different answers."""
        return len(set(self.says.values())) > 1


@dataclass(frozen=True)
class Conflicts:
    """Samples that contradict themselves and samples that do not. tasks: where they are from."""

    tasks: tuple[str, ...]
    made: bool
    items: tuple[Said, ...]


def made_conflicts(pairing: Pairing, options: AgreementOptions) -> Conflicts | None:
    """Conflicts of two sides with different carriers, as many agreeing samples; None if no rows fit together."""
    first, second = pairing.first, pairing.second
    if not first.carrier or not second.carrier or first.carrier == second.carrier:
        return None
    rng = generator(options.seed, "conflicts", first.name, second.name)
    others: dict[Hashable, list[str]] = {}
    rests = {key: rest(row.sample, second.carrier) for key, row in second.rows.items()}
    for key, found in rests.items():
        others.setdefault(found, []).append(key)
    items: list[Said] = []
    wanted = 2 * (options.max_samples or len(pairing.pairs))
    for key in (pairing.pairs[place] for place in rng.permutation(len(pairing.pairs))):
        if len(items) >= wanted:
            break
        row = first.rows[key]
        found = rest(row.sample, first.carrier)
        differ = [other for other in others.get(found, []) if second.rows[other].expected != row.expected]
        if rests[key] != found or not differ:
            continue
        chosen = differ[int(rng.integers(len(differ)))]
        swapped = len(items) % 4 > 1
        items += [joined(row, second.rows[other], pairing, swapped) for other in (chosen, key)]
    return Conflicts((first.task, second.task), True, tuple(items)) if items else None


def rest(sample: Sample, carrier: str) -> Hashable:
    """What the user reads without what is carried in the last turn; equal for rows that differ in that alone."""
    turns = list(sample.messages[:-1])
    last = _last_user(sample)
    kept = [item for item in turns[last].content if item.modality != carrier and not isinstance(item, Absent)]
    turns[last] = replace(turns[last], content=tuple(kept))
    if sample.tools or any(turn.tool_calls for turn in turns):
        return ("alone", id(sample))
    return tuple((turn.role, content_key(turn)) for turn in turns)


def joined(first: Row, second: Row, pairing: Pairing, swapped: bool) -> Said:
    """The first row with what the second one carries: in place of its own, where it carries both; else after what it
    carries itself, or before it if `swapped`.
    """
    one, other = pairing.first.carrier, pairing.second.carrier
    added = [item for item in _last_turn(second.sample).content if _is(item, other)]
    turn = _last_turn(first.whole)
    kept = [item for item in turn.content if item.modality != other]  # neither that, nor a note that it is absent
    own = [place for place, item in enumerate(kept) if _is(item, one)]
    place = own[0] if swapped else own[-1] + 1
    if first.whole is not first.sample:
        place = next(place for place, item in enumerate(turn.content) if _is(item, other))
    content = (*kept[:place], *added, *kept[place:])
    messages = list(first.whole.messages)
    messages[_last_user(first.whole)] = replace(turn, content=content)
    sample = replace(first.whole, messages=tuple(messages))
    says = {one: first.expected, other: second.expected}
    return Said(sample, says, first.cluster, [item.modality for item in content if item.modality in says][-1])


def _is(item: Segment, modality: str) -> bool:
    """Whether this is something of a modality, and no note that there is nothing."""
    return item.modality == modality and not isinstance(item, Absent)


def _last_turn(sample: Sample) -> Message:
    return sample.messages[_last_user(sample)]


def _last_user(sample: Sample) -> int:
    return max(number for number, message in enumerate(sample.messages) if message.role == "user")


def stated_conflicts(task: str, questions: Questions) -> Conflicts | None:
    """The rows of a task that say what each of their modalities says; None if none contradicts itself."""
    if questions.main.name != ACCURACY:
        return None
    items = []
    for place, (sample, cluster) in enumerate(zip(questions.samples, questions.clusters.names, strict=True)):
        fields = {key.removeprefix(SAYS): value for key, value in sample.metadata.items() if key.startswith(SAYS)}
        if len(fields) > 1:
            says = {modality: canonical(value) for modality, value in sorted(fields.items())}
            items.append(Said(sample, says, cluster, place=place))
    return Conflicts((task,), False, tuple(items)) if any(item.is_conflict for item in items) else None


def drawn_items(conflicts: Conflicts, options: AgreementOptions) -> list[int]:
    """The places of items for which the probability of the answer is computed: at most `max_samples` of each kind."""
    rng, found = generator(options.seed, "probabilities", *conflicts.tasks), list[int]()
    for kind in (True, False):
        places = [place for place, item in enumerate(conflicts.items) if item.is_conflict == kind]
        size = min(options.max_samples or len(places), len(places))
        found += rng.choice(places, size, replace=False).tolist() if places else []
    return sorted(found)


def conflict_json(
    conflicts: Conflicts,
    answered: Sequence[Prediction],
    losses: Sequence[float | None],
    options: AgreementOptions,
    boot: Bootstrap,
) -> dict[str, Any] | None:
    """The part of a report about conflicts; None if none could be asked. losses: of the model's own answers, in nats.

    follows: the share of conflicts that are answered as each modality asks, and as none does. last: of the answers that
    follow one of two, the share that follows what was given last. auroc: how often a conflict is answered with less
    probability than what agrees; 0.5: the model does not notice.
    """
    rows = [
        (item, prediction, loss)
        for item, prediction, loss in zip(conflicts.items, answered, losses, strict=True)
        if not prediction.skipped
    ]
    apart = [(item, canonical(prediction.answer), prediction) for item, prediction, _ in rows if item.is_conflict]
    same = [(item, canonical(prediction.answer), prediction) for item, prediction, _ in rows if not item.is_conflict]
    if not apart:
        return None
    drawn = [item.cluster for item, _, _ in apart]

    def share(hits: Sequence[bool], clusters: Sequence[str]) -> dict[str, Any] | None:
        return bootstrap(hits, clusters, boot.resamples, boot.seed).to_json() if hits else None

    modalities = list(dict.fromkeys(name for item, _, _ in apart for name in item.says))
    follows = {name: share([item.says.get(name) == answer for item, answer, _ in apart], drawn) for name in modalities}
    follows[NEITHER] = share([answer not in item.says.values() for item, answer, _ in apart], drawn)
    found: dict[str, Any] = {
        "tasks": list(conflicts.tasks),
        "made": conflicts.made,
        "n": len(apart),
        "skipped": len(conflicts.items) - len(rows),
        "follows": follows,
        "agreeing": share([prediction.correct for _, _, prediction in same], [item.cluster for item, _, _ in same]),
    }
    if conflicts.made:
        decided = [(item, answer) for item, answer, _ in apart if answer in item.says.values()]
        found["last"] = share(
            [item.says[item.last] == answer for item, answer in decided], [item.cluster for item, _ in decided]
        )
    else:
        found["accuracy"] = share([prediction.correct for _, _, prediction in apart], drawn)
    if options.admits:
        admitting = {canonical(answer) for answer in options.admits}
        found["admits"] = {
            name: share([answer in admitting for _, answer, _ in kind], [item.cluster for item, _, _ in kind])
            for name, kind in (("conflict", apart), ("agreeing", same))
        }
    return found | sureness(rows, boot)


def sureness(rows: Sequence[tuple[Said, Prediction, float | None]], boot: Bootstrap) -> dict[str, Any]:
    """The probability of the answers to conflicts and to what agrees, and whether it tells them apart."""
    known = [(item, loss) for item, _, loss in rows if loss is not None]
    probability = {}
    for name, kind in (("conflict", True), ("agreeing", False)):
        part = [(float(np.exp(-loss)), item.cluster) for item, loss in known if item.is_conflict == kind]
        values, clusters = [value for value, _ in part], [cluster for _, cluster in part]
        score = bootstrap_mean(values, clusters, boot.resamples, boot.seed) if part else None
        probability[name] = None if score is None else score.to_json()
    found = None
    if known:
        kinds, clusters = [item.is_conflict for item, _ in known], [item.cluster for item, _ in known]
        found = auroc([loss for _, loss in known], kinds, clusters, boot.resamples, boot.seed)
    return {"probability": probability, "auroc": None if found is None else found.to_json()}


def own_answer(prediction: Prediction) -> tuple[Message, ...] | None:
    """The model's answer, to ask for its probability; None for one with a call, or without words."""
    if prediction.skipped or TOOL_CALL in prediction.answer or not prediction.answer:
        return None
    return (Message("assistant", (Text(prediction.answer),)),)
