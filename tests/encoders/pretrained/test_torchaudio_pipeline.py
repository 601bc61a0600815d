import pytest
import torch
import torchaudio
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from data.types import MediaBatch
from encoders.pretrained.fine_tuning import Frozen, Partial
from encoders.pretrained.torchaudio_pipeline import PipelineEncoder
from tests.fusion.builders import perturb


def architecture():
    with initialize_config_module("conf", version_base="1.3"):
        return OmegaConf.to_container(
            compose("train", overrides=["encoders/audio=torchaudio"]).encoders.audio.architecture
        )


@pytest.mark.parametrize("layer", [None, 1, 2])
@torch.no_grad()
def test_clips_of_any_length_give_what_torchaudio_computes_for_each_alone(layer) -> None:
    torch.manual_seed(0)
    ours = PipelineEncoder(Frozen(), architecture=architecture(), layer=layer)
    perturb(ours)
    theirs = torchaudio.models.wav2vec2_model(**architecture()).eval()
    theirs.load_state_dict(ours.backbone.state_dict(), strict=False)
    lengths = [1999, 720, 1999, 1280]
    values = torch.randn(4, max(lengths))
    features_NTC = ours(MediaBatch(values, torch.tensor(lengths)[:, None], torch.arange(4)))
    for clip, length, features_TC in zip(values, lengths, features_NTC, strict=True):
        states, _ = theirs.extract_features(clip[None, :length])
        expected_TC = states[(layer or 2) - 1][0]
        assert len(expected_TC) == ours.layout((length,)).count
        torch.testing.assert_close(features_TC[: len(expected_TC)], expected_TC, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pipeline": "WAV2VEC2_BSE"}, "must be one of .*WAV2VEC2_BASE"),
        ({"pipeline": "HDEMUCS_HIGH_MUSDB"}, "must be one of"),
        ({}, "exactly one of pipeline and architecture"),
        ({"architecture": {"no_such_size": 1}}, "is refused"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(arguments, words) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        PipelineEncoder(Partial(1), **arguments)
    assert "\n" not in str(raised.value)
