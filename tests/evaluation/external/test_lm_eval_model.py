"""lm-eval asks a checkpoint in process, from files alone, and finds what this project's own evaluation finds."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from data.types import AUDIO, IMAGE, BadInputError, Media, Message, Sample, Text
from evaluation.answering.likelihood import likelihoods
from evaluation.answering.predict import predict
from tests.evaluation.colours import COLOURS, parts
from tests.evaluation.external.asked import GENERATION, KINDS, LIKELIHOOD, NUM_ROWS, TYPED, samples, task, write_rows
from tests.evaluation.saved_run import save_run

lm_eval = pytest.importorskip("lm_eval", reason="pip install 'interfuse[harness]'")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from evaluation.external.lm_eval_model import InterfuseLM  # noqa: E402


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, trained: Any) -> Path:
    """A run of a model that answers most questions about colours, but not all."""
    model, tokenizer, _ = trained
    folder = tmp_path_factory.mktemp("run")
    save_run(folder, model, tokenizer)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def model(run: Path) -> InterfuseLM:
    return InterfuseLM(run, device="cpu", batch_size=5)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refused(*_: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.fixture(scope="module")
def manager() -> TaskManager:
    """Without the thousands of tasks that come with lm-eval, which it would read first."""
    return TaskManager(include_defaults=False)


def evaluated(model: InterfuseLM, manager: TaskManager, content: dict[str, Any], **options: Any) -> Any:
    found = lm_eval.simple_evaluate(model, tasks=[content], task_manager=manager, bootstrap_iters=0, **options)
    assert found is not None
    return found


def own_likelihoods(model: InterfuseLM, asked: list[Sample]) -> list[list[float]]:
    """Of all choices of each question, in their order, by this project's evaluation."""
    candidates = [[Message("assistant", (Text(text),)) for text in sample.choices] for sample in asked]
    found = likelihoods(model.model, model.interleaver, asked, candidates)
    return [[-loss for loss in item.losses] for item in found if item is not None]


@pytest.mark.parametrize("kind", KINDS)
def test_choices_are_as_likely_as_in_our_own_evaluation(
    kind: str, model: InterfuseLM, manager: TaskManager, rows: Path
) -> None:
    words, modalities = KINDS[kind]
    found = evaluated(model, manager, task(rows, words, LIKELIHOOD))
    asked = samples(rows, *modalities)
    expected = own_likelihoods(model, asked)
    theirs = [[value for ((value, _),) in sample["resps"]] for sample in found["samples"]["colours"]]
    assert len(theirs) == len(expected) == NUM_ROWS
    for own, their in zip(expected, theirs, strict=True):
        assert their == pytest.approx(own, abs=1e-4)
    right = [
        own.index(max(own)) == sample.choices.index(sample.messages[-1].content[0].text)  # type: ignore[union-attr]
        for own, sample in zip(expected, asked, strict=True)
    ]
    assert found["results"]["colours"]["acc,none"] == pytest.approx(sum(right) / NUM_ROWS)
    assert sum(right) > NUM_ROWS / 2, "it has learned to look and to listen"


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_our_own_evaluation(
    kind: str, model: InterfuseLM, manager: TaskManager, rows: Path
) -> None:
    words, modalities = KINDS[kind]
    found = evaluated(model, manager, task(rows, words, GENERATION))
    own = predict(model.model, model.codec, model.interleaver, samples(rows, *modalities), max_new_tokens=4)
    assert [sample["resps"][0][0] for sample in found["samples"]["colours"]] == [item.answer for item in own]
    accuracy = sum(item.correct for item in own) / NUM_ROWS
    assert found["results"]["colours"]["exact_match,none"] == pytest.approx(accuracy)
    assert accuracy > 0.5


def test_a_task_of_theirs_asks_its_own_words(model: InterfuseLM, manager: TaskManager, tmp_path: Path) -> None:
    """Their file of SciQ with its prompt and metrics, on rows of ours."""
    row = {"support": "the sky is blue.", "question": "what color is it?", "correct_answer": "blue"}
    row |= {f"distractor{number}": name for number, name in enumerate(("red", "green", "white"), start=1)}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    file = Path(lm_eval.__file__).parent / "tasks" / "sciq" / "sciq.yaml"
    content = task(tmp_path / "rows.jsonl")
    splits = {"training_split": None, "validation_split": None}
    (tmp_path / "own.yaml").write_text(json.dumps({"include": str(file), **content, **splits}), encoding="utf-8")
    found = lm_eval.simple_evaluate(
        model,
        tasks=["colours"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        bootstrap_iters=0,
    )
    (sample,) = found["samples"]["colours"]
    assert sample["arguments"][0][0] == "the sky is blue.\nQuestion: what color is it?\nAnswer:"
    asked = Message("user", (Text("the sky is blue.\nQuestion: what color is it?\nAnswer:"),))
    question = Sample("0", (asked, Message("assistant", (Text("red"),))), choices=("red", "green", "white", "blue"))
    (own,) = own_likelihoods(model, [question])
    assert [value for ((value, _),) in sample["resps"]] == pytest.approx(own, abs=1e-4)
    assert found["results"]["colours"]["acc,none"] == float(own.index(max(own)) == 3)


def request(*arguments: Any, kind: str = "loglikelihood") -> Instance:
    return Instance(kind, {}, arguments, 0, ("made", 0, 1))


def test_the_picture_decides(model: InterfuseLM, rows: Path) -> None:
    found = []
    for row in map(json.loads, rows.read_text().splitlines()[:4]):
        media = {"visual": [row["image"]]}
        asked = [request("what color is it?", f" {name}", media) for name in COLOURS]
        likely = [value for value, _ in model.loglikelihood(asked, disable_tqdm=True)]
        found.append(list(COLOURS)[likely.index(max(likely))])
    assert len(set(found)) >= 3


def test_a_batch_of_any_size_finds_the_same(run: Path, rows: Path) -> None:
    """Answers of other lengths, contexts with and without media, in one call."""
    media = {"visual": [json.loads(rows.read_text().splitlines()[0])["image"]]}
    asked = [request("what color is it?", " red", media), request("what color is it?", " green and blue", media)]
    asked += [request("is it red? " * count, " no") for count in (1, 3, 5)] + [request("", " white")]
    one, many = (InterfuseLM(run, device="cpu", batch_size=size) for size in (1, 6))
    left, right = (model.loglikelihood(asked, disable_tqdm=True) for model in (one, many))
    assert [value for value, _ in left] == pytest.approx([value for value, _ in right], abs=1e-4)
    assert [greedy for _, greedy in left] == [greedy for _, greedy in right]


def test_greedy_is_what_decoding_gives(model: InterfuseLM, rows: Path) -> None:
    for sample, row in zip(samples(rows, IMAGE), map(json.loads, rows.read_text().splitlines()), strict=True):
        media = {"visual": [row["image"]]}
        asked = [request(row["question"], f" {name}", media) for name in sample.choices]
        greedy = [is_greedy for _, is_greedy in model.loglikelihood(asked, disable_tqdm=True)]
        (answer,) = model.generate_until([request(row["question"], {"max_gen_toks": 4}, media)], disable_tqdm=True)
        assert greedy == [name == answer for name in sample.choices]


def test_the_end_of_an_answer_counts_unless_it_is_left_out(run: Path, model: InterfuseLM) -> None:
    shorter = InterfuseLM(run, device="cpu", count_end=False)
    asked = [request("is it red?", " no"), request("is it red?", " not")]
    (whole, _), _ = model.loglikelihood(asked, disable_tqdm=True)
    (word, _), _ = shorter.loglikelihood(asked, disable_tqdm=True)
    assert whole < word < 0
    (rolled,) = model.loglikelihood_rolling([request("no")], disable_tqdm=True)
    ((alone, _),) = shorter.loglikelihood([request("", "no")], disable_tqdm=True)
    assert rolled == pytest.approx(alone, abs=1e-5), "an answer to nothing is a text, and that has no end"


def test_a_context_that_is_too_long_loses_its_beginning_and_is_counted(
    run: Path, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = InterfuseLM(run, device="cpu")
    media = {"visual": [json.loads(rows.read_text().splitlines()[0])["image"]]}
    long = "a lot of words before it. " * 10 + "what color is it?"
    answers = [request(long, f" {name}", media) for name in COLOURS]
    cut = [value for value, _ in model.loglikelihood(answers, disable_tqdm=True)]
    assert model.truncated == len(COLOURS)
    assert "4 of 4 contexts lost their beginning, for data.max_tokens=128" in capsys.readouterr().err
    # The longest end of the context that fits, by trying all.
    ids, asked = model.codec.encode(long), [Message("assistant", (Text(name),)) for name in COLOURS]
    found: list[Any] = []
    while not found:
        content = (Media(IMAGE, Path(media["visual"][0])), Text(model.codec.decode(ids).strip()))
        with suppress(BadInputError):
            sample = Sample("x", (Message("user", content), asked[0]))
            assert all(len(document) <= 128 for document in model.interleaver.answered(sample, asked))
            found = likelihoods(model.model, model.interleaver, [sample], [asked])
        ids = ids[1:]
    assert cut == pytest.approx([-loss for loss in found[0].losses], abs=1e-4)
    model.generate_until([request(long, {"max_gen_toks": 8}, media), request("is it red?", {})], disable_tqdm=True)
    assert model.truncated == len(COLOURS) + 1


def test_an_answer_that_does_not_fit_is_refused(model: InterfuseLM) -> None:
    with pytest.raises(BadInputError, match=r"made:0: takes \d+ tokens without its text, where data\.max_tokens=128"):
        model.loglikelihood([request("is it red?", " no" * 200)], disable_tqdm=True)


def test_an_answer_ends_where_a_stop_sequence_begins(model: InterfuseLM, rows: Path) -> None:
    media = {"visual": [json.loads(rows.read_text().splitlines()[0])["image"]]}
    ask = "what color is it?"
    (whole,) = model.generate_until([request(ask, {"max_gen_toks": 4}, media)], disable_tqdm=True)
    assert whole == "red"
    for stops, expected in ((["d"], "re"), (["x", "e", "d"], "r"), ("red", ""), ([], "red")):
        (found,) = model.generate_until([request(ask, {"until": stops, "max_gen_toks": 4}, media)], disable_tqdm=True)
        assert found == expected
    (drawn,) = model.generate_until(
        [request(ask, {"do_sample": True, "temperature": 50.0, "max_gen_toks": 4}, media)], disable_tqdm=True
    )
    assert drawn != whole
    with pytest.raises(BadInputError, match="top_p: answers are drawn by temperature alone"):
        model.generate_until([request(ask, {"do_sample": True, "temperature": 1.0, "top_p": 0.5})], disable_tqdm=True)


def test_turns_reach_the_model_as_turns(model: InterfuseLM, manager: TaskManager, rows: Path) -> None:
    """With --apply_chat_template, examples are turns of their own; the marks come from no text."""
    words = {"doc_to_text": "{{question}} <|assistant|>", "num_fewshot": 1, "fewshot_split": "test"}
    options = {"apply_chat_template": True, "fewshot_as_multiturn": True, "system_instruction": "look"}
    found = evaluated(model, manager, task(rows, words, LIKELIHOOD), limit=3, **options)
    for sample in found["samples"]["colours"]:
        context = sample["arguments"][0][0]
        turns = json.loads(context[context.index("[") :])
        assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
        messages = (
            *(Message(turn["role"], (Text(turn["content"].strip()),)) for turn in turns),
            Message("assistant", ()),
        )
        asked = Sample("0", messages, choices=tuple(sample["doc"]["choices"]))
        assert list(model.interleaver.prompt(asked).token_ids).count(model.codec.id("<|assistant|>")) == 2
        (own,) = own_likelihoods(model, [asked])
        assert [value for ((value, _),) in sample["resps"]] == pytest.approx(own, abs=1e-4)


def test_arguments_that_cannot_be_used_are_one_line(run: Path, tmp_path: Path) -> None:
    for arguments, said in (
        ({"checkpoint": run, "pretrained": "x"}, "model_args: pretrained: no such argument; give checkpoint=RUN"),
        ({}, "model_args: checkpoint: has no value; give checkpoint=RUN"),
        ({"checkpoint": run, "batch_size": "many"}, "batch_size=many: must be a number of 1 or more, or auto"),
        ({"checkpoint": run, "device": "tpu"}, "device=tpu is not there"),
        ({"checkpoint": tmp_path / "none"}, str(tmp_path / "none")),
    ):
        with pytest.raises(BadInputError) as caught:
            InterfuseLM(**arguments)  # type: ignore[arg-type]
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_untrained_model_scores_what_our_evaluation_says_too(
    tmp_path: Path, manager: TaskManager, rows: Path
) -> None:
    """So that nothing above is right by being certain."""
    untrained, tokenizer, _ = parts(seed=5)
    save_run(tmp_path, untrained, tokenizer)
    model = InterfuseLM(tmp_path, device="cpu")
    found = evaluated(model, manager, task(rows, TYPED, LIKELIHOOD))
    for own, sample in zip(own_likelihoods(model, samples(rows, IMAGE)), found["samples"]["colours"], strict=True):
        assert [value for ((value, _),) in sample["resps"]] == pytest.approx(own, abs=1e-4)
    assert AUDIO in model.model.modalities
