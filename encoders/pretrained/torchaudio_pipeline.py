"""Sound by the wav2vec 2.0, HuBERT and WavLM models of torchaudio.

Shape legend: N items (clips), a samples of a signal, T places in an item, C width of the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from data.configuration.locate import first_line, library
from data.types import Layout
from encoders.pretrained.backbone import PretrainedEncoder, shortest_input, strided_layout, strided_length
from encoders.pretrained.fine_tuning import FineTuning, find_blocks


class PipelineEncoder(PretrainedEncoder):
    """waveforms [N, a] -> backbone -> features [N, T, C]: the output of its last block, or of an earlier one.

    pipeline: a name of `torchaudio.pipelines`, such as WAV2VEC2_BASE or HUBERT_BASE; its weights lie in `folder` (null:
    torch's hub folder), and are fetched if they do not. Null: random weights of `architecture`, the arguments of
    `torchaudio.models.wav2vec2_model`.
    layer: null (the last), or after how many blocks. For the others see `PretrainedEncoder`.
    """

    def __init__(
        self,
        fine_tuning: FineTuning,
        pipeline: str | None = None,
        folder: str | None = None,
        architecture: Mapping[str, Any] | None = None,
        layer: int | None = None,
        lr_scale: float = 1.0,
        cache: bool = False,
    ) -> None:
        if (pipeline is None) == (architecture is None):
            raise ValueError("exactly one of pipeline and architecture must be given")
        self.is_pretrained = pipeline is not None
        self.pipeline = pipeline
        backbone = _random(architecture) if architecture is not None else _pretrained(str(pipeline), folder)
        blocks = find_blocks(backbone)
        if layer is not None and not 1 <= layer <= len(blocks):
            raise ValueError(f"layer={layer} must be in [1, {len(blocks)}], the blocks of the model, or null")
        del blocks[layer or len(blocks) :]
        convolutions = (
            m for name, m in backbone.named_modules() if ".conv_layers." in f".{name}" and hasattr(m, "stride")
        )
        self.strides = [(m.kernel_size, m.stride) for m in convolutions if isinstance(m.stride, int)]
        super().__init__(backbone, (shortest_input(2, self.strides),), fine_tuning, lr_scale, cache)

    def extract(self, values: Tensor) -> Tensor:
        """Features [N, T, C] of clips of one length [N, a]."""
        layers, _ = self.backbone.extract_features(values)  # type: ignore[operator]
        return layers[-1]

    def placed(self, shape: tuple[int, ...]) -> Layout:
        """The line of features of a waveform of `shape` (S,)."""
        if len(shape) != 1 or strided_length(shape[0], self.strides) < 1:
            shortest = shortest_input(1, self.strides)
            raise ValueError(f"a waveform of shape {shape} does not fit the encoder, which takes ({shortest} or more,)")
        return strided_layout(shape[0], self.strides)

    def preprocessing(self) -> dict[str, Any]:
        """Raw sound at the pipeline's rate, normalised if its weights expect that."""
        options: dict[str, Any] = {}
        if self.pipeline is not None:
            bundle = getattr(library("torchaudio.pipelines"), self.pipeline)
            # Its model would normalise all clips of a batch as one; clips that are normalised already stay as they are.
            options = {"sample_rate": int(bundle.sample_rate), "normalise": bool(bundle._normalize_waveform)}
        return {"_target_": "data.media.waveform.WaveformProcessor", **options}


def _pretrained(pipeline: str, folder: str | None) -> nn.Module:
    pipelines = library("torchaudio.pipelines")
    bundle = getattr(pipelines, pipeline, None)
    if not isinstance(bundle, pipelines.Wav2Vec2Bundle):
        names = [name for name in dir(pipelines) if isinstance(getattr(pipelines, name), pipelines.Wav2Vec2Bundle)]
        raise ValueError(f"pipeline={pipeline!r} must be one of {', '.join(names)}")
    try:
        return bundle.get_model(dl_kwargs={"model_dir": folder, "progress": False} if folder else None)
    except Exception as error:  # no network, a damaged file
        raise ValueError(f"the weights of pipeline={pipeline} cannot be had: {first_line(error)}") from error


def _random(architecture: Mapping[str, Any]) -> nn.Module:
    try:
        return library("torchaudio.models").wav2vec2_model(**architecture)
    except Exception as error:  # wrong sizes end in errors of any type
        raise ValueError(f"architecture={dict(architecture)} is refused: {first_line(error)}") from error
