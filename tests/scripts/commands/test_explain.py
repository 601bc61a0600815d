"""The command that draws what an answer rests on."""

from pathlib import Path

import pytest
import soundfile
import torch
from hydra import compose, initialize_config_module
from PIL import Image

from data.types import BadInputError
from scripts.explain import main
from tests.evaluation.colours import RATE, parts, whistle
from tests.evaluation.saved_run import save_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and files to ask it about; what it answers does not matter here."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("explain")
    model, tokenizer, _ = parts()
    save_run(folder / "run", model, tokenizer)
    Image.new("RGB", (30, 20), (50, 50, 200)).save(folder / "blue.png")
    soundfile.write(folder / "which.wav", whistle(0, 3).numpy(), RATE)
    return folder


def explain(folder: Path, *overrides: str) -> None:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("explain", [f"checkpoint={folder / 'run'}", *overrides])
    main.__wrapped__(config)


def test_it_draws_every_medium_and_never_over_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [f"image={folder}/blue.png", f"audio={folder}/which.wav", "text=what color is it?"]
    sizes = []
    for number, given in enumerate((asked, asked[:1])):
        output = folder / "pictures" / f"{number}.png"
        explain(folder, *given, "answer=blue", f"output={output}")
        assert capsys.readouterr().out == f"blue\npicture: {output}\n"
        with Image.open(output) as picture:
            sizes.append(picture.size)
            assert len(set(picture.convert("L").resize((60, 60)).tobytes())) > 20, "not an empty sheet"
    assert sizes[0][1] > 1.5 * sizes[1][1], "a row for each medium and one for the words"
    with pytest.raises(BadInputError, match=r"output=.*0\.png: exists already"):
        explain(folder, *asked, f"output={folder}/pictures/0.png")


def test_without_an_answer_it_explains_the_model_s_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain(folder, "text=what color is it?", "max_new_tokens=3", f"output={folder}/own.png")
    assert (folder / "own.png").is_file()
    assert capsys.readouterr().out.endswith(f"picture: {folder}/own.png\n")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("image={}/none.png", r"image=.*none\.png: no such file"),
        ("device=cpu", "nothing is asked"),
        ("text=" + "long " * 200, "max_tokens=128"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(given: str, expected: str, folder: Path) -> None:
    with pytest.raises(BadInputError, match=expected) as refused:
        explain(folder, given.format(folder), f"output={folder}/bad.png")
    assert "\n" not in str(refused.value)
    assert not (folder / "bad.png").exists()
