"""A tool call is an answer: it is generated, shown and scored by name and arguments."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data.batching.collate import collate
from data.batching.interleave import Interleaver
from data.tokenizer import TOOL_CALL, Tokenizer
from data.types import BadSampleError, Media, Message, Sample, Text, ToolCall
from evaluation.answering.predict import Prediction, predict
from evaluation.answering.questions import long_answers, read_samples
from evaluation.answering.reply import answer_length, canonical, decoded, may_call, reply, same_reply
from evaluation.scoring import evaluate
from evaluation.settings import Bootstrap, Settings
from tests.evaluation.colours import Colours, tiny_model

TOOLS = ({"type": "function", "function": {"name": "paint"}},)


def calling(name: str, arguments: dict[str, Any], words: str = "") -> Message:
    return Message("assistant", (Text(words),) if words else (), (ToolCall(name, arguments),))


def call(text: str, words: str = "") -> str:
    return f"{words}{TOOL_CALL}{text}"


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (call('{"name":"paint","arguments":{"colour":"Red","size":1}}'), True),
        (call('{"arguments": {"size": 1.0, "colour": "Red"}, "name": "paint"}'), True),
        (call('{"name":"paint","arguments":{"colour":"red","size":1}}'), False),
        (call('{"name":"Paint","arguments":{"colour":"Red","size":1}}'), False),
        (call('{"name":"paint","arguments":{"colour":"Red","size":true}}'), False),
        (call('{"name":"paint","arguments":{"colour":"Red"}}'), False),
        (call('{"name":"paint","arguments":{"colour":"Red","size":1}'), False),
        (call('{"name":"paint","arguments":{"colour":"Red","size":1}}', "Now: "), False),
        (2 * call('{"name":"paint","arguments":{"colour":"Red","size":1}}'), False),
        ('{"name":"paint","arguments":{"colour":"Red","size":1}}', False),
        ("", False),
    ],
)
def test_a_call_is_right_by_name_and_arguments(answer: str, right: bool) -> None:
    message = calling("paint", {"colour": "Red", "size": 1})
    sample = Sample("1", (Message("user", (Text("?"),)), message))
    assert Prediction(sample, reply(message), answer).correct is right


def test_words_before_a_call_match_as_words_do() -> None:
    expected = reply(calling("paint", {"a": [1, {"b": None}]}, "I shall paint"))
    assert same_reply(call('{"name": "paint", "arguments": {"a": [1, {"b": null}]}}', "i  SHALL paint "), expected)
    assert same_reply(" Yes", "yes")
    assert canonical(call("not json")) == call("not json")


def test_calls_come_from_their_token_and_not_from_text() -> None:
    tokenizer = Tokenizer.train(["paint"], 265)
    text = '{"name":"paint","arguments":{}}'
    called = [*tokenizer.encode("so "), tokenizer.id(TOOL_CALL), *tokenizer.encode(text)]
    assert decoded(tokenizer, called) == reply(calling("paint", {}, "so "))
    forged = decoded(tokenizer, tokenizer.encode("so " + TOOL_CALL + text))
    assert TOOL_CALL not in forged
    assert not same_reply(forged, reply(calling("paint", {}, "so ")))
    spoken = Message("assistant", (Text(f"write {TOOL_CALL}"),))
    assert same_reply(decoded(tokenizer, tokenizer.encode(f"write {TOOL_CALL}")), reply(spoken))


class Calls(Colours):
    """The colour is to be named by a tool."""

    def texts(self) -> list[str]:
        return [*super().texts(), '{"name":"say","arguments":{"colour":"'] * 4

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        sample = super().sample(index, rng)
        if index % 2:
            return sample
        colour = sample.messages[-1].content[0].text
        return replace(sample, messages=(sample.messages[0], calling("say", {"colour": colour})), tools=TOOLS)


def settings(source: Colours, **options: Any) -> Settings:
    tasks = {"calls": source}
    return replace(Settings(tasks, source, max_new_tokens=40, bootstrap=Bootstrap(1000)), **options)


def parts(source: Colours) -> tuple[Any, Tokenizer, Interleaver]:
    from data.media.image import ImageProcessor
    from tests.evaluation.colours import SIZE

    tokenizer = Tokenizer.train(source.texts() * 4, 320)
    model = tiny_model(tokenizer.vocab_size)
    return (
        model,
        tokenizer,
        Interleaver(tokenizer, {"image": ImageProcessor(SIZE)}, model.layouts, model.modalities, 256),
    )


def test_a_model_that_has_learned_to_call_scores_and_a_silent_one_does_not() -> None:
    source = Calls(num_images=4)
    model, tokenizer, interleaver = parts(source)
    batch = collate([[interleaver.document(sample)] for sample in read_samples(source)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        logits = model.logits(model(batch).states[batch.labels >= 0])
        loss = torch.nn.functional.cross_entropy(logits, batch.labels[batch.labels >= 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    report = evaluate(model.eval(), tokenizer, interleaver, settings(source), progress=False)
    assert report["tasks"]["calls"]["accuracy"]["value"] == 1
    red = call('{"arguments": {"colour": "red"}, "name": "say"}')
    assert report["confusion"]["calls"][red] == {red: 1}
    assert 0 < report["audit"]["calls"]["majority"]["value"] < 1
    silent = [Prediction(sample, reply(sample.messages[-1]), "") for sample in read_samples(source)]
    assert not any(prediction.correct for prediction in silent)


def test_only_a_sample_with_tools_is_answered_by_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer, interleaver = parts(Calls())
    kinds: list[tuple[bool, int]] = []

    def answered(model: Any, tokenizer: Any, documents: list[Any], limit: int, calls: bool) -> list[str]:
        kinds.append((calls, len(documents)))
        return [""] * len(documents)

    monkeypatch.setattr("evaluation.answering.predict.answer_batch", answered)
    samples = read_samples(Calls(num_images=3))
    assert [may_call(sample) for sample in samples] == [True, False] * 3
    predict(model, tokenizer, interleaver, samples)
    assert kinds == [(False, 3), (True, 3)]
    untold = replace(samples[0], tools=())
    assert may_call(untold), "what is expected must be allowed"


class Expecting(Colours):
    """One expected answer for all."""

    def __init__(self, answer: Message) -> None:
        super().__init__(num_images=2)
        self.answer = answer

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        sample = super().sample(index, rng)
        return replace(sample, messages=(sample.messages[0], self.answer))


@pytest.mark.parametrize("content", [(Text(" "),), (Media("image", b"?"),)])
def test_an_answer_that_silence_would_match_is_refused_by_name(content: tuple[Any, ...]) -> None:
    with pytest.raises(BadSampleError, match=r"colours \(id 0\): expects an answer without words or tool calls"):
        read_samples(Expecting(Message("assistant", content)))


def test_answers_longer_than_the_model_may_answer_are_counted() -> None:
    source = Calls(num_images=4)
    model, tokenizer, interleaver = parts(source)
    samples = read_samples(source)
    lengths = [answer_length(tokenizer, sample.messages[-1]) for sample in samples]
    for sample, length in zip(samples, lengths, strict=True):
        document = interleaver.document(sample)
        assert length == (document.labels >= 0).sum() - 1, "as the training counts them, without the end"
    short = min(length for sample, length in zip(samples, lengths, strict=True) if may_call(sample)) - 1
    expected = {"calls": {"count": 4, "n": 8, "longest": max(lengths), "max_new_tokens": short}}
    assert long_answers("calls", samples, tokenizer, short) == expected
    assert long_answers("calls", samples, tokenizer, max(lengths)) == {}
    report = evaluate(
        model, tokenizer, interleaver, settings(source, max_new_tokens=short, audit=False), progress=False
    )
    assert report["long_answers"] == expected
