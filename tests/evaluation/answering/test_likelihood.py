"""The likelihood of an answer is the training's loss of it, and what the model says token by token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.batching.collate import collate, collate_prompts
from data.batching.interleave import Interleaver
from data.tokenizer import END, Tokenizer
from data.types import UNSUPERVISED, BadSampleError, Message, Sample, Text, ToolCall
from evaluation.answering.candidates import candidates_of, chance
from evaluation.answering.likelihood import likelihoods
from evaluation.answering.questions import read_samples
from fusion.model import FusionModel
from fusion.token_loss import document_losses
from tests.evaluation.colours import Colours, parts
from tests.fusion.builders import perturb
from training.objectives.next_token import NextToken

Parts = tuple[FusionModel, Tokenizer, Interleaver]
SAMPLES = [sample for kind in ("typed", "spoken") for sample in read_samples(Colours(kind, num_images=3))]


@pytest.fixture(scope="module")
def untrained() -> Parts:
    model, tokenizer, interleaver = parts(seed=1)
    perturb(model)
    return model.eval(), tokenizer, interleaver


def calling(sample: Sample) -> Sample:
    call = ToolCall("say", {"colour": "red", "n": 2})
    answer = Message("assistant", (Text("so"),), tool_calls=(call,))
    return replace(sample, messages=(sample.messages[0], answer), tools=({"function": {"name": "say"}},))


def own(samples: list[Sample]) -> list[tuple[Message, ...]]:
    return [(sample.messages[-1],) for sample in samples]


def losses(parts: Parts, samples: list[Sample], batch_size: int = 16) -> list[float]:
    model, _, interleaver = parts
    found = likelihoods(model, interleaver, samples, own(samples), batch_size=batch_size)
    return [item.losses[0] for item in found if item is not None]


@pytest.mark.parametrize("sample", [SAMPLES[0], SAMPLES[-1], calling(SAMPLES[0])])
def test_it_is_the_loss_of_the_training(untrained: Parts, sample: Sample) -> None:
    model, _, interleaver = untrained
    (found,) = likelihoods(model, interleaver, [sample], own([sample]))
    with torch.no_grad():
        terms = NextToken()(model, collate_prompts([interleaver.document(sample)]))
    assert found is not None
    assert found.losses[0] == pytest.approx(float(terms.sum), rel=1e-5)
    assert found.tokens[0] == terms.count


def test_only_the_last_answer_counts(untrained: Parts) -> None:
    """Of an earlier turn nothing is asked; the document is that of the training but for its labels."""
    _, tokenizer, interleaver = untrained
    first, second = SAMPLES[0], SAMPLES[1]
    both = replace(first, messages=(*first.messages, Message("user", (Text("is it red?"),)), second.messages[1]))
    (document,), whole = interleaver.answered(both, [both.messages[-1]]), interleaver.document(both)
    np.testing.assert_array_equal(document.token_ids, whole.token_ids)
    np.testing.assert_array_equal(document.modality_ids, whole.modality_ids)
    begin = len(interleaver.prompt(both)) - 1
    assert (document.labels[:begin] == UNSUPERVISED).all()
    np.testing.assert_array_equal(document.labels[begin:], whole.labels[begin:])
    assert (whole.labels[:begin] != UNSUPERVISED).any()
    assert document.group_names == ("colours/text",)
    assert document.labels[-2] == tokenizer.id(END)


@pytest.mark.parametrize("sample", [SAMPLES[0], SAMPLES[-1], calling(SAMPLES[0])])
def test_it_is_the_product_of_the_next_token_probabilities(untrained: Parts, sample: Sample) -> None:
    """Decoded with a cache, one token after the other."""
    model, _, interleaver = untrained
    prompt, (document,) = interleaver.prompt(sample), interleaver.answered(sample, [sample.messages[-1]])
    cache = model.make_cache(1, len(document))
    answer = document.token_ids[len(prompt) :].tolist()
    batch, total = collate([[prompt]], pad_to=len(prompt)), 0.0
    with torch.no_grad():
        for place, token in enumerate(answer):
            hidden = model(batch, cache).states[:, -1]
            total -= float(model.logits(hidden).double().log_softmax(-1)[0, token])
            column = torch.tensor([[token]])
            batch = replace(
                batch,
                token_ids=column,
                modality_ids=torch.zeros_like(column),
                document_ids=torch.zeros_like(column),
                places=torch.tensor([[len(prompt) + place]]),
                positions=torch.tensor([[[len(prompt) + place]]]),
                labels=torch.full_like(column, UNSUPERVISED),
                label_groups=torch.full_like(column, -1),
                media={},
            )
    assert losses(untrained, [sample])[0] == pytest.approx(total, rel=1e-4)


def test_neither_the_batch_nor_packing_changes_it(untrained: Parts) -> None:
    model, _, interleaver = untrained
    samples = [*SAMPLES, calling(SAMPLES[0])]
    alone = losses(untrained, samples, 1)
    np.testing.assert_allclose(losses(untrained, samples, 64), alone, rtol=1e-4)
    documents = [interleaver.answered(sample, [sample.messages[-1]])[0] for sample in samples]
    with torch.no_grad():
        packed, counts = document_losses(model, collate([documents[:4], documents[4:]]))
    np.testing.assert_allclose(packed.numpy(), alone, rtol=1e-4)
    assert counts.tolist() == [int((document.labels != UNSUPERVISED).sum()) for document in documents]


def test_an_answer_that_does_not_fit_stops_or_is_passed_over(untrained: Parts) -> None:
    model, _, interleaver = untrained
    first = SAMPLES[0]
    long = replace(first, messages=(first.messages[0], Message("assistant", (Text("x" * 300),))))
    with pytest.raises(BadSampleError, match=r"takes \d+ tokens where max_tokens=128"):
        likelihoods(model, interleaver, [long], own([long]))
    found = likelihoods(model, interleaver, [long, first], own([long, first]), on_bad_sample="skip")
    assert found[0] is None
    assert found[1] is not None
    (only,) = likelihoods(model, interleaver, [first], [(first.messages[-1], long.messages[-1])])
    assert only is not None
    assert only.answers == ("red",), "a drawn candidate that is too long is no fault of the row"


def test_candidates_are_answers_to_questions_about_something_else() -> None:
    samples = [answering(f"caption {place}") for place in range(40)]
    clusters = [str(place // 5) for place in range(40)]
    found = candidates_of("t", samples, clusters, 4, seed=0)
    for place, answers in enumerate(found):
        texts = [answer.content[0].text for answer in answers]
        assert texts[0] == f"caption {place}"
        assert len(set(texts)) == 4
        own_cluster = {f"caption {other}" for other in range(40) if other // 5 == place // 5}
        assert not own_cluster & set(texts[1:])
    assert found == candidates_of("t", samples, clusters, 4, seed=0)
    assert found != candidates_of("t", samples, clusters, 4, seed=1)
    assert found != candidates_of("u", samples, clusters, 4, seed=0)
    assert chance(found) == 0.25


def test_a_row_may_name_its_candidates() -> None:
    sample = replace(answering("a wallaby"), choices=("a kangaroo", "A  wallaby"))
    (found,) = candidates_of("t", [sample], ["0"], 4, seed=0)
    assert [answer.content[0].text for answer in found] == ["a wallaby", "a kangaroo"]
    same = candidates_of("t", [answering("yes")] * 3, ["0", "1", "2"], 4, seed=0)
    assert [len(answers) for answers in same] == [1, 1, 1]
    assert chance(same) is None
    assert chance([*same, found]) == 0.5
    with pytest.raises(BadSampleError, match=r"choices: must hold the expected answer 'a wallaby'"):
        read_samples(Listed([replace(sample, choices=("a kangaroo", "a dog"))]))


class Listed(list[Sample]):
    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        return self[index]


def answering(text: str) -> Sample:
    return Sample(text, (Message("user", (Text("is it red?"),)), Message("assistant", (Text(text),))))


def test_a_random_model_chooses_one_in_n() -> None:
    """Answers of equal length in letters, each expected once: whatever it prefers, it is right once in four."""
    rng = np.random.default_rng(0)
    samples = [answering("".join(rng.choice(list("abcdefgh"), 6))) for _ in range(240)]
    clusters = [str(place) for place in range(240)]
    candidates = candidates_of("t", samples, clusters, 4, seed=0)
    right = []
    for seed in range(3):
        model, _, interleaver = parts(seed=seed)
        found = likelihoods(model, interleaver, samples, candidates, batch_size=256)
        right += [item.choice for item in found if item is not None]
    assert len(right) == 720
    assert np.mean(right) == pytest.approx(0.25, abs=0.05)
