"""Images by any model of timm.

Shape legend: N items (images), h height in pixels, w width in pixels, T places in an item, C width of the features.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from data.configuration.locate import first_line, library, locate
from data.types import Layout
from encoders.pretrained.backbone import PretrainedEncoder, image_preprocessing, square, tokens_of
from encoders.pretrained.fine_tuning import FineTuning
from encoders.pretrained.weights import load_weights

HUB = "hub"


class TimmEncoder(PretrainedEncoder):
    """[N, 3, h, w] -> backbone -> features [N, T, C]: `forward_features`, or the output of an earlier layer.

    Tokens of a transformer are taken as they are, its class token included; maps become features row by row.

    model: a name of timm, with its tag if weights come from the hub (`vit_tiny_patch16_224.augreg_in21k`).
    weights: null (random), `hub` (what timm publishes under that name), a file, or `package:NAME/FILE`.
    image_size: S; None: what the model was made for.
    mean, std: what the weights expect of the pixels, which `data.processors.image` follows; None: what timm says of the
    model.
    layer: null (the last), or a feature level counted from 1: a block of a transformer, a stage of a convolutional net.
    options: passed on to `timm.create_model`. For the others see `PretrainedEncoder`.
    """

    def __init__(
        self,
        model: str,
        image_size: Annotated[int, Field(ge=1)] | None,
        fine_tuning: FineTuning,
        weights: str | None = None,
        layer: int | None = None,
        lr_scale: float = 1.0,
        cache: bool = False,
        options: Mapping[str, Any] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size={image_size} must be positive, or null for the model's own")
        backbone = _create(model, image_size, weights, dict(options or {}))
        published: Any = backbone.pretrained_cfg
        image_size = image_size or max(published["input_size"][1:])
        self.is_pretrained = weights is not None
        self.mean, self.std = mean or published["mean"], std or published["std"]
        levels = len(backbone.feature_info)  # type: ignore[arg-type]
        if layer is not None and not 1 <= layer <= levels:
            raise ValueError(f"layer={layer} must be in [1, {levels}], the feature levels of {model}, or null")
        self.layer, self.image_size = layer, image_size
        self.channels_last = getattr(backbone, "output_fmt", "NCHW") == "NHWC"
        if layer is None:
            backbone.reset_classifier(0)  # type: ignore[operator]
        else:
            backbone.prune_intermediate_layers([layer - 1], prune_norm=True, prune_head=True)  # type: ignore[operator]
        try:
            super().__init__(backbone, (3, image_size, image_size), fine_tuning, lr_scale, cache)
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f"image_size={image_size} does not fit {model}: {first_line(error)}") from error

    def extract(self, values: Tensor) -> Tensor:
        """Features [N, T, C] of images [N, 3, h, w]."""
        backbone: Any = self.backbone
        if self.layer is None:
            return tokens_of(backbone.forward_features(values), self.channels_last)
        (features,) = backbone.forward_intermediates(values, indices=[self.layer - 1], intermediates_only=True)
        return tokens_of(features)

    def placed(self, shape: tuple[int, ...]) -> Layout:
        """A square of patches of an image of `shape` (3, S, S), after the class token if there is one."""
        if shape != self.example_shape:
            raise ValueError(f"an image of shape {shape} does not fit the encoder, which takes {self.example_shape}")
        return square(self.example_length)

    def preprocessing(self) -> dict[str, Any]:
        """Images of the size, with the mean and the deviation, that the weights expect."""
        return image_preprocessing(self.image_size, self.mean, self.std)


def _create(model: str, image_size: int | None, weights: str | None, options: dict[str, Any]) -> nn.Module:
    timm = library("timm")
    if ":" not in model and not timm.is_model(model):
        nearest = difflib.get_close_matches(model, timm.list_models(), n=1, cutoff=0.0)[0]
        raise ValueError(f"model={model!r} is not a model of timm; the nearest name is {nearest}")
    path = locate(weights) if weights not in (None, HUB) else None
    if weights not in (None, HUB) and path is None:
        raise ValueError(f"weights={weights!r} must be null, {HUB}, a file that exists, or package:NAME/FILE")
    published = timm.get_pretrained_cfg(model) if ":" not in model else None
    if image_size is not None and published is not None and published.fixed_input_size:
        options = {"img_size": image_size, **options}
    try:
        backbone = timm.create_model(model, pretrained=weights == HUB, **options)
    except Exception as error:  # timm and the hub fail in many ways, and none is a bug of this project
        where = " with the weights of the hub" if weights == HUB else ""
        raise ValueError(f"timm cannot make model={model!r}{where}: {first_line(error)}") from error
    if path is not None:
        load_weights(backbone, path)
    return backbone
