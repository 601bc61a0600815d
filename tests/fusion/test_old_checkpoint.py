"""A checkpoint that an older version wrote is loaded, and computes what it computed then.

`old_checkpoint/` holds what commit 29e4808 wrote for a small training on pictures and sound: the configuration and the
tokenizer as they were, the names and shapes of the weights, and what its model computed from weights that are drawn
from their names. So no weights have to be kept.
"""

import hashlib
import importlib
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from data.batching.collate import collate
from data.batching.packing import pack
from data.build import build_interleaver, build_processors
from data.tokenizer import Tokenizer
from data.types import UNSUPERVISED, BadInputError, Media, Message, Sample, Text
from fusion.checkpoint import load_model
from fusion.moved_targets import CLASSES, MODULES, moved

WRITTEN = Path(__file__).parent / "old_checkpoint"
EXPECTED = json.loads((WRITTEN / "expected.json").read_text(encoding="utf-8"))


def drawn(name: str, shape: list[int]) -> torch.Tensor:
    """A weight of non-trivial values that follow from its name alone."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    is_norm = len(shape) == 1 and "norm" in name and name.endswith("weight")
    scale = 0.5 / max(1, shape[-1]) ** 0.5 if len(shape) > 1 else 0.1
    return torch.randn(shape, generator=generator) * scale + (1.0 if is_norm else 0.0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The folder of a step, as it was then."""
    step = tmp_path / "step_4"
    step.mkdir()
    weights = {name: drawn(name, shape) for name, shape in EXPECTED["tensors"].items()}
    safetensors.torch.save_file(weights, step / "model.safetensors")
    for name in ("config.yaml", "tokenizer.json"):
        (step / name).write_bytes((WRITTEN / name).read_bytes())
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in step.iterdir()
    }
    (step / "manifest.json").write_text(json.dumps({"format": 1, "step": 4, "score": None, "files": files}))
    return step


def question(folder: Path) -> Sample:
    pixels = (np.arange(16 * 16 * 3).reshape(16, 16, 3) * 7 % 256).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "x.png")
    soundfile.write(folder / "x.wav", 0.3 * np.sin(2 * np.pi * 440 * np.arange(4000) / 16000), 16000)
    asked = (Media("image", folder / "x.png"), Media("audio", folder / "x.wav"), Text("what color?"))
    return Sample("s", (Message("user", asked), Message("assistant", (Text("green"),))))


def test_it_computes_what_it_computed_then(checkpoint: Path, tmp_path: Path) -> None:
    loaded = load_model(checkpoint)
    tokenizer = Tokenizer.load(loaded.tokenizer_path)
    data, model = loaded.config.data, loaded.model
    interleaver = build_interleaver(data, tokenizer, build_processors(data), model.layouts, model.modalities)
    batch = collate(pack([interleaver.document(question(tmp_path))], 1024))
    with torch.no_grad():
        logits = model.logits(model(batch).states)[0]
    answer = batch.labels[0] != UNSUPERVISED
    assert len(logits) == EXPECTED["num_tokens"]
    assert cross_entropy(logits[answer], batch.labels[0][answer]).item() == pytest.approx(EXPECTED["loss"], abs=1e-4)
    for place, name in ((0, "first_logits"), (-1, "last_logits")):
        torch.testing.assert_close(logits[place, :12], torch.tensor(EXPECTED[name]), atol=1e-4, rtol=1e-4)


def test_every_class_that_it_could_name_is_found() -> None:
    for target in EXPECTED["targets"]:
        module, _, name = moved({"_target_": target})["_target_"].rpartition(".")
        assert getattr(importlib.import_module(module), name).__module__ == module, target


def test_names_of_today_stay_as_they_are() -> None:
    today = {"_target_": "fusion.methods.mid.MidFusion", "parts": [{"_target_": "data.media.image.ImageProcessor"}]}
    assert moved(today) == today
    assert not {*MODULES, *CLASSES} & {*MODULES.values(), *CLASSES.values()}


def test_a_moved_name_opens_no_way_round_the_allow_list(checkpoint: Path) -> None:
    text = (checkpoint / "config.yaml").read_text(encoding="utf-8")
    (checkpoint / "config.yaml").write_text(text.replace("data.image.ImageProcessor", "data.image.torch.load"))
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    del manifest["files"]["config.yaml"]
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInputError, match=r"_target_=data\.image\.torch\.load is not allowed"):
        load_model(checkpoint)
