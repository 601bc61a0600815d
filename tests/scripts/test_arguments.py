"""What is typed reaches the configuration as it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from scripts.arguments import ArgumentError, Literals, hydra_arguments
from scripts.error_lines import CONF

GENERATE = Literals(texts=("text",), paths=("checkpoint", "image", "audio"), media=True)
TEXTS = [
    "what's the color?",
    'say "red"',
    "какой цвет?",
    "什么颜色",
    "is it 🔴?",
    "red, or blue: which=it?",
    "[x",
    "{x: [1, 2)}",
    "${x}",
    "\\${x}",
    "$ {x} $",
    "a\\",
    "\\'",
    "it's \\' \"quoted\" \\\\",
    "C:\\new\\table",
    "3.10",
    "1e1",
    "true",
    "Null",
    " a ",
    "",
    "two\nlines\tand a tab",
    "glob(*), ~x, a=b, @c, #d",
    "'",
    "''",
    "-m",
]


def composed(*typed: str, name: str = "generate", literals: Literals = GENERATE) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(name, hydra_arguments(typed, literals, CONF / f"{name}.yaml"))


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_what_was_typed(text: str) -> None:
    assert composed(f"text={text}").text == text


def test_any_mixture_of_the_grammar_s_characters_is_text() -> None:
    rng, marks = (
        np.random.default_rng(0),
        ["\\", "'", '"', "${", "$", "}", "=", ",", ":", "[", "]", "(", " ", "é", "\n"],
    )
    drawn = ["".join(rng.choice(marks, size=rng.integers(1, 8))) for _ in range(300)]
    config = composed(*(f"+media.m{number}={text}" for number, text in enumerate(drawn)), literals=literal_media(300))
    assert list(config.media.values()) == drawn


def literal_media(count: int) -> Literals:
    return Literals(texts=[f"media.m{number}" for number in range(count)])


@pytest.mark.parametrize("name", ["été.png", "a=b.png", "it's.png", "a, b.png", "[1].png", "1e3", "true", "$x.png"])
def test_paths_are_what_was_typed(name: str) -> None:
    assert composed(f"image={name}").image == name
    assert composed(f"depth={name}").media == {"depth": name}


def test_the_home_folder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    given = ("image=~/x.png", "checkpoint=~/runs/it's", "text=~/is text")
    config = composed(*given)
    assert (config.image, config.checkpoint, config.text) == ("/somebody/x.png", "/somebody/runs/it's", "~/is text")


def test_null_is_none_and_other_options_keep_hydra_s_grammar() -> None:
    config = composed("text=null", "image=null", "seed=3", "temperature=0.5", "+hydra.job.x=[1,2]")
    assert (config.text, config.image, config.seed, config.temperature) == (None, None, 3, 0.5)


def test_only_what_is_neither_an_option_nor_a_group_becomes_a_medium() -> None:
    typed = ["depth=d.png", "seed=1", "+new=1", "data.train=x", "hydra/launcher=basic", "~text", "--help", "text"]
    assert hydra_arguments(typed, GENERATE, CONF / "generate.yaml") == ["+media.depth='d.png'", *typed[1:]]
    assert hydra_arguments(typed, Literals(), CONF / "train.yaml") == typed


def test_several_runs_may_stand_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    literals = Literals(lists=("runs",))

    def runs(value: str) -> object:
        return composed(f"runs={value}", name="compare", literals=literals).runs

    assert runs("[runs/*/*]") == ["runs/*/*"]
    assert runs("[~/a, été/b=c,runs/[AB]]") == ["/somebody/a", "été/b=c", "runs/[AB]"]
    assert runs("[AB]*/été") == "[AB]*/été"
    assert runs("it's") == "it's"


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("text=???", r"text=\?\?\?: stands for a value that is not given"),
        ("image=\udce9t\udce9.png", "image=.*: holds bytes that are not UTF-8"),
        ("seed=\udcff", "seed=.*: holds bytes that are not UTF-8"),
    ],
)
def test_what_cannot_be_taken_literally_is_refused(argument: str, expected: str) -> None:
    with pytest.raises(ArgumentError, match=expected):
        hydra_arguments([argument], GENERATE, Path(CONF / "generate.yaml"))
