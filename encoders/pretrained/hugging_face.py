"""Images, sound or text by any encoder of transformers.

Shape legend: N items, T places in an item, C width of the features.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from data.configuration.locate import first_line, library, locate
from data.types import Layout
from encoders.pretrained.backbone import (
    PretrainedEncoder,
    image_preprocessing,
    shortest_input,
    square,
    strided_layout,
    strided_length,
    tokens_of,
)
from encoders.pretrained.fine_tuning import FineTuning, find_blocks

IMAGES, TEXT_IDS = "pixel_values", "input_ids"
# Probes of certification are numbers of any kind; spread out, they name many tokens.
SPREAD = 1000


class TransformersEncoder(PretrainedEncoder):
    """values [N, ...] -> backbone -> features [N, T, C]: `last_hidden_state`, or the output of an earlier block.

    The backbone's first input decides what the values are: pixels [3, h, w], a waveform [samples] (wav2vec 2.0,
    HuBERT, WavLM), the features of the model's own extractor (Whisper, AST: see `data.media.waveform`), or
    token ids [L] (see `data.media.sentence`). Ids of floating point, as certification draws them, are taken modulo the
    vocabulary.

    model: a name on the hub, a folder, or `package:NAME/FOLDER`; null: random weights of `architecture`, a mapping with
    `model_type` and any sizes of that type's configuration.
    image_size: of an image model; it must be the model's own, and is an option only to say so.
    mean, std: what the weights expect of the pixels, which `data.processors.image` follows; None: what the model's own
    image processor says.
    part: which module of the model, such as `vision_model`; null: the encoder of an encoder-decoder, else all of it.
    layer: null (the last, with the final norm if there is one), or after how many blocks. For the others see
    `PretrainedEncoder`.
    """

    def __init__(
        self,
        fine_tuning: FineTuning,
        model: str | None = None,
        architecture: Mapping[str, Any] | None = None,
        part: str | None = None,
        image_size: Annotated[int, Field(ge=1)] | None = None,
        layer: int | None = None,
        lr_scale: float = 1.0,
        cache: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        if (model is None) == (architecture is None):
            raise ValueError("exactly one of model and architecture must be given")
        self.is_pretrained = model is not None
        self.model, self.mean, self.std = model, mean, std
        whole = _random(architecture) if architecture is not None else _pretrained(str(model))
        backbone = _part(whole, part)
        self.last_block: str | None = None
        if layer is not None:
            blocks = find_blocks(backbone)
            if not 1 <= layer <= len(blocks):
                raise ValueError(f"layer={layer} must be in [1, {len(blocks)}], the blocks of the model, or null")
            del blocks[layer:]
            self.last_block = next(name for name, module in backbone.named_modules() if module is blocks[-1])
        self.input_name = next(iter(inspect.signature(backbone.forward).parameters))
        sizes: Any = backbone.config
        self.vocab_size = getattr(sizes, "vocab_size", 0)
        if self.input_name == TEXT_IDS and not self.vocab_size:
            names = ", ".join(name for name, _ in backbone.named_children())
            raise ValueError(f"{type(backbone).__name__} has several encoders: part must name one of {names}")
        self.strides = list(zip(getattr(sizes, "conv_kernel", ()), getattr(sizes, "conv_stride", ()), strict=True))
        self.longest = _longest_text(backbone)
        super().__init__(backbone, _example_shape(sizes, self.input_name, self.strides), fine_tuning, lr_scale, cache)
        if image_size not in (None, self.example_shape[-1]):
            raise ValueError(f"image_size={image_size} must be {self.example_shape[-1]}, that of the model")

    def extract(self, values: Tensor) -> Tensor:
        """Features [N, T, C] of items of one shape."""
        if self.input_name == TEXT_IDS and values.is_floating_point():
            values = (SPREAD * values).long() % self.vocab_size
        if self.last_block is None:
            return tokens_of(self.backbone(**{self.input_name: values})[0])
        outputs: list[Any] = []
        block = self.backbone.get_submodule(self.last_block)
        handle = block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        try:
            self.backbone(**{self.input_name: values})
        finally:
            handle.remove()
        features = outputs[-1]
        return tokens_of(features if isinstance(features, Tensor) else features[0])

    def placed(self, shape: tuple[int, ...]) -> Layout:
        """Of an image a square of patches, after the class token if there is one; a line otherwise.

        A spectrogram has its mel bins on the first axis or on the second, so that only a waveform has times.
        """
        if self.input_name == TEXT_IDS:
            if len(shape) != 1 or not 1 <= shape[0] <= self.longest:
                raise ValueError(f"token ids of shape {shape} do not fit the encoder, which takes 1 to {self.longest}")
            return Layout(shape[0])
        if self.strides:
            if len(shape) != 1 or strided_length(shape[0], self.strides) < 1:
                shortest = shortest_input(1, self.strides)
                raise ValueError(
                    f"a waveform of shape {shape} does not fit the encoder, which takes ({shortest} or more,)"
                )
            return strided_layout(shape[0], self.strides)
        if shape != self.example_shape:
            raise ValueError(f"an item of shape {shape} does not fit the encoder, which takes {self.example_shape}")
        return square(self.example_length) if self.input_name == IMAGES else Layout(self.example_length)

    def preprocessing(self) -> dict[str, Any]:
        """What the model's own image processor, feature extractor or tokenizer does; of random ones what is known."""
        if self.input_name == IMAGES:
            said = _image_statistics(self.model) if self.model and not (self.mean and self.std) else {}
            mean, std = self.mean or said.get("image_mean"), self.std or said.get("image_std")
            return image_preprocessing(self.example_shape[-1], mean, std)
        if self.strides:
            said = _extractor(self.model) if self.model else {}
            options = {"sample_rate": "sampling_rate", "normalise": "do_normalize"}
            told = {option: said[name] for option, name in options.items() if name in said}
            return {"_target_": "data.media.waveform.WaveformProcessor", **told}
        if self.model is None:
            return {}
        text = self.input_name == TEXT_IDS
        target = "data.media.sentence.SentenceProcessor" if text else "data.media.waveform.ExtractorProcessor"
        return {"_target_": target, "model": self.model}


def _pretrained(model: str) -> nn.Module:
    place = locate(model) or model
    with _quiet() as transformers:
        try:
            # Without a dtype, weights that are stored in half precision would be trained in it.
            return transformers.AutoModel.from_pretrained(place, dtype=torch.float32)
        except Exception as error:  # the library and the hub fail in many ways, and none is a bug of this project
            raise ValueError(f"transformers cannot load model={model!r}: {first_line(error)}") from error


def _image_statistics(model: str) -> dict[str, Any]:
    """What a model's own image processor says of itself; nothing of one without."""
    with _quiet() as transformers:
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(locate(model) or model)
        except Exception:  # a model without one; the library says so in many ways
            return {}
    if getattr(processor, "do_normalize", True):
        return dict(vars(processor))
    return {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}


def _extractor(model: str) -> dict[str, Any]:
    """What a model's own feature extractor says of itself; nothing of one without."""
    with _quiet() as transformers:
        try:
            return dict(vars(transformers.AutoFeatureExtractor.from_pretrained(locate(model) or model)))
        except Exception:  # as above
            return {}


def _random(architecture: Mapping[str, Any]) -> nn.Module:
    with _quiet() as transformers:
        try:
            return transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**architecture))
        except Exception as error:  # wrong sizes end in errors of any type
            raise ValueError(f"architecture={dict(architecture)} is refused: {first_line(error)}") from error


@contextmanager
def _quiet() -> Any:
    """The library without its reports on weights that an encoder does not use, and without bars."""
    transformers = library("transformers")
    loggers = [library("transformers.utils.logging"), library("huggingface_hub.utils.logging")]
    levels = [logger.get_verbosity() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
    loggers[0].disable_progress_bar()
    try:
        yield transformers
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)


def _part(model: Any, part: str | None) -> nn.Module:
    if part is None:
        return model.get_encoder() if model.config.is_encoder_decoder else model
    try:
        chosen = model.get_submodule(part)
    except AttributeError:
        names = ", ".join(name for name, _ in model.named_children())
        raise ValueError(f"part={part!r} is not in {type(model).__name__}, which has {names}") from None
    if not hasattr(chosen, "config"):
        raise ValueError(f"part={part!r} of {type(model).__name__} is not a model of its own")
    return chosen


def _example_shape(sizes: Any, input_name: str, strides: list[tuple[int, int]]) -> tuple[int, ...]:
    """The shape of a small item."""
    if input_name == TEXT_IDS:
        return (2,)
    if strides:
        return (shortest_input(2, strides),)
    if input_name == IMAGES and isinstance(getattr(sizes, "image_size", None), int):
        return (getattr(sizes, "num_channels", 3), sizes.image_size, sizes.image_size)
    if hasattr(sizes, "max_source_positions") and hasattr(sizes, "num_mel_bins"):
        return (sizes.num_mel_bins, 2 * sizes.max_source_positions)
    if hasattr(sizes, "max_length") and hasattr(sizes, "num_mel_bins"):
        return (sizes.max_length, sizes.num_mel_bins)
    raise ValueError(f"the shape of {input_name} of {sizes.model_type!r} is not known; such models are not supported")


def _longest_text(backbone: nn.Module) -> int:
    """Tokens that the table of positions has room for; RoBERTa's begins after its padding."""
    tables = [m for name, m in backbone.named_modules() if name.endswith("position_embeddings")]
    if tables and isinstance(tables[0], nn.Embedding):
        before = 0 if tables[0].padding_idx is None else tables[0].padding_idx + 1
        return tables[0].num_embeddings - before
    return getattr(backbone.config, "max_position_embeddings", 0) or 512
