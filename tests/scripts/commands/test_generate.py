"""The command that asks a checkpoint, and the session behind it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hydra import compose, initialize_config_module
from PIL import Image

from data.tokenizer import SPECIAL_TOKENS, TOOL_CALL
from data.types import BadInputError, Media, Message, Text
from evaluation.answering.predict import predict
from evaluation.scoring import read_samples
from scripts.generate import main
from serving.session import Session
from tests.evaluation.colours import RATE, Colours, learn, parts, whistle
from tests.evaluation.saved_run import save_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model that knows its colours, and files to ask it about."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ask")
    model, tokenizer, interleaver = parts()
    learn(model, interleaver)
    save_run(folder / "run", model, tokenizer)
    Image.new("RGB", (8, 8), (50, 50, 200)).save(folder / "blue.png")
    Image.new("RGB", (30, 20), (200, 50, 50)).save(folder / "red.png")
    soundfile.write(folder / "which.wav", whistle(0, 3).numpy(), RATE)
    soundfile.write(folder / "is_red.flac", np.stack([whistle(1, 4).numpy()] * 2, axis=1), RATE)
    (folder / "broken.png").write_bytes((folder / "red.png").read_bytes()[:40])
    (folder / "broken.wav").write_bytes(b"RIFFnothing")
    return folder


def ask(folder: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("generate", [f"checkpoint={folder / 'run'}", *overrides])
    main.__wrapped__(config)
    return capsys.readouterr().out.rstrip("\n")


def test_it_answers_typed_and_spoken_questions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blue, red = f"image={folder}/blue.png", f"image={folder}/red.png"
    assert ask(folder, capsys, blue, "text=what color is it?") == "blue"
    assert ask(folder, capsys, red, "text=is it red?") == "yes"
    assert ask(folder, capsys, blue, f"audio={folder}/which.wav") == "blue"
    assert ask(folder, capsys, blue, f"audio={folder}/is_red.flac") == "no"


def test_any_part_alone_will_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given in (f"image={folder}/blue.png", f"audio={folder}/which.wav", "text=3"):
        ask(folder, capsys, given)


def test_sampling_follows_its_seed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hot = ["text=what color is it?", "temperature=20", "max_new_tokens=6"]
    answers = [ask(folder, capsys, *hot, f"seed={seed}") for seed in (1, 1, 2)]
    assert answers[0] == answers[1]
    assert answers[0] != answers[2]


def test_no_special_token_is_ever_answered(folder: Path) -> None:
    """So hot that every token is about as likely as any other."""
    session, tools = Session.load(folder / "run"), [{"type": "function"}]
    question = [Message("user", (Text("is it red?"),))]
    for given, allowed in (((), set()), (tools, {TOOL_CALL})):
        answers = [session.reply(question, given, max_new_tokens=60, temperature=1e3, seed=n) for n in range(5)]
        assert len("".join(answers)) > 100
        assert {token for token in SPECIAL_TOKENS if token in "".join(answers)} <= allowed


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("image={}/none.png", r"image=.*none\.png: no such file"),
        ("audio={}", "audio=.*: no such file"),
        ("image={}/broken.png", r"broken\.png: not a readable image"),
        ("audio={}/broken.wav", r"broken\.wav: not readable sound"),
        ("seed=1", "nothing is asked; give image=FILE"),
        ("text=" + "long " * 200, "max_tokens=128"),
    ],
)
def test_bad_input_is_one_line_that_names_it(
    given: str, expected: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInputError, match=expected) as refused:
        ask(folder, capsys, given.format(folder))
    assert "\n" not in str(refused.value)


def test_a_session_answers_as_the_evaluation_does(folder: Path) -> None:
    """Asked one by one after one another, in any order: nothing is kept between two questions."""
    model, tokenizer, interleaver = parts()
    session = Session.load(folder / "run")
    model.load_state_dict(session.model.state_dict())
    samples = [sample for kind in ("typed", "spoken") for sample in read_samples(Colours(kind, 8))]
    expected = [item.answer for item in predict(model, tokenizer, interleaver, samples)]
    for place in np.random.default_rng(0).permutation(len(samples)):
        assert session.reply(samples[place].messages[:-1]) == expected[place]


def test_a_conversation_and_its_order_reach_the_model(folder: Path) -> None:
    session = Session.load(folder / "run")
    image, question = Media("image", folder / "blue.png"), Text("what color is it?")
    first = Message("user", (image, question))
    assert session.reply([first]) == session.answer(image, question) == "blue"
    turns = [first, Message("assistant", (Text("blue"),)), Message("user", (Text("is it red?"),))]
    assert isinstance(session.reply(turns), str)
    with pytest.raises(ValueError, match="segments is empty"):
        session.answer()
    with pytest.raises(BadInputError, match="'video' has no encoder"):
        session.answer(Media("video", folder / "blue.png"))
