import numpy as np
import pytest
import soundfile
import torch

from data.media.waveform import ExtractorProcessor, WaveformProcessor
from data.types import BadSampleError, Media

transformers = pytest.importorskip("transformers")


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, 0.2 + 0.1 * np.random.default_rng(0).standard_normal(4000).astype(np.float32), 16_000)
    return path


def test_a_waveform_is_what_wav2vec_s_own_extractor_makes_of_it(clip) -> None:
    samples, _ = soundfile.read(clip, dtype="float32")
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    expected = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_values[0]
    torch.testing.assert_close(WaveformProcessor()(Media("audio", clip)), expected, rtol=1e-4, atol=1e-5)
    raw = WaveformProcessor(normalise=False)(Media("audio", clip))
    torch.testing.assert_close(raw, torch.from_numpy(samples))


@pytest.mark.parametrize("name", ["WhisperFeatureExtractor", "ASTFeatureExtractor", "Wav2Vec2FeatureExtractor"])
def test_the_extractor_of_a_model_is_found_in_its_folder(name, clip, tmp_path) -> None:
    extractor = getattr(transformers, name)()
    extractor.save_pretrained(tmp_path / "model")
    samples, _ = soundfile.read(clip, dtype="float32")
    expected = extractor(samples, sampling_rate=16_000, return_tensors="pt")[extractor.model_input_names[0]][0]
    values = ExtractorProcessor(str(tmp_path / "model"))(Media("audio", clip))
    torch.testing.assert_close(values, expected.float(), rtol=1e-4, atol=1e-5)


def test_bad_models_and_sounds_are_refused(clip, tmp_path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        ExtractorProcessor("./no/folder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no feature extractor"):
        ExtractorProcessor(str(tmp_path / "empty"))
    with pytest.raises(BadSampleError, match=r"more than max_seconds=0.1"):
        WaveformProcessor(max_seconds=0.1)(Media("audio", clip))
    with pytest.raises(ValueError, match="sample_rate=0"):
        WaveformProcessor(0)
