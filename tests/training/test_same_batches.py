"""Fusion methods are compared on the same batches: neither the method nor its width reaches what is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module

import conf
from certify.small_data import write_small_data
from data.types import InterleavedBatch
from training.run import train

METHODS = sorted(path.stem for path in Path(str(conf.__file__)).parent.glob("fusion/*.yaml"))
NUMBERS = (0, 3)
IDS = ("token_ids", "modality_ids", "document_ids", "places", "positions", "labels", "label_groups")


class Taken(Exception):  # noqa: N818
    """Ends a training where it asks for its first batch."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), ("text", "audio", "image"))


def batches(data: Path, folder: Path, *overrides: str) -> list[InterleavedBatch]:
    """What a training with these overrides would get as its batches of `NUMBERS`; sounds and images are augmented."""

    def take(stream, begin, end, num_workers):
        raise Taken([stream[number] for number in NUMBERS])

    options = [
        *("data=manifest", f"data.train={data}", "data.samples_per_batch=8", "data.num_workers=0"),
        *("data.modality_dropout={image: 0.3}", "missing_token=learned", "+data.processors.image.shift=0.1"),
        *("fusion.num_layers=2", "mixer.num_heads=2", "mixer.num_kv_heads=1", "tracker=jsonl", "compute_threads=1"),
        *("trainer.device=cpu", f"runs={folder}"),
    ]
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", overrides=[*options, *overrides])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.run.loader", take)
        with pytest.raises(Taken) as taken:
            train(config, None)
    return taken.value.args[0]


@pytest.fixture(scope="module")
def reference(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[InterleavedBatch]:
    return batches(data, tmp_path_factory.mktemp("runs"), f"fusion={METHODS[0]}", "d_model=32")


@pytest.mark.parametrize("fusion", METHODS)
def test_every_method_sees_the_same_batches(
    fusion: str, data: Path, reference: list[InterleavedBatch], tmp_path: Path
) -> None:
    """With the same seed, at another width, as in a bake-off."""
    for found, expected in zip(batches(data, tmp_path, f"fusion={fusion}", "d_model=40"), reference, strict=True):
        assert found.sample_ids == expected.sample_ids
        for name in IDS:
            assert torch.equal(getattr(found, name), getattr(expected, name)), name
        assert found.media.keys() == expected.media.keys() == {"audio", "image"}
        for modality, media in found.media.items():
            for name, values in vars(media).items():
                assert torch.equal(values, getattr(expected.media[modality], name)), (modality, name)


def test_another_seed_gives_other_batches(data: Path, reference: list[InterleavedBatch], tmp_path: Path) -> None:
    others = batches(data, tmp_path, f"fusion={METHODS[0]}", "d_model=32", "seed=1")
    for found, expected in zip(others, reference, strict=True):
        assert found.sample_ids != expected.sample_ids
    (first, fourth), (other, _) = reference, others
    assert first.sample_ids != fourth.sample_ids
    assert not torch.equal(first.media["audio"].values, other.media["audio"].values)
