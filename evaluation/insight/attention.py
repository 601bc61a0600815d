"""What the answering position attends to, and a picture of it over image patches and audio frames.

Shape legend: T places in an item, L tokens in a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from torch import Tensor

from data.batching.collate import collate_prompts
from data.batching.interleave import Interleaver
from data.display.drawing import COLOURS, new_figure, pixels
from data.display.plain_text import label
from data.types import Layout, Sample
from evaluation.insight.preview import appearance, shown_media
from evaluation.insight.rollout import attention_by_layer, rollout
from fusion.attention_maps import attention_maps
from fusion.model import FusionModel

# Layers that are drawn at most, and columns that there are at least, so that a title has room.
MAX_LAYERS, MIN_LAYERS = 6, 3
# Examples that are drawn at most, and media of each.
MAX_EXAMPLES, MAX_MEDIA = 8, 3
ROLLOUT = "rollout"


@dataclass(frozen=True)
class Attended:
    """One medium of a prompt and the attention that it gets.

    shown: what to draw: uint8 [h, w, 3] where its features lie on a grid, else its values with time first.
    weights: layer -> [T], attention of the position that gives the first token of the answer, mean over heads.
    layout: how the features of its encoder lie; where a projector has made other tokens of them, as many as it likes.
    """

    modality: str
    shown: np.ndarray
    weights: Mapping[str, np.ndarray]
    layout: Layout


def attended_media(model: FusionModel, interleaver: Interleaver, sample: Sample) -> list[Attended]:
    """The media of a sample with the answering position's attention, in the layers where it sees any of them.

    Where it sees them in no layer itself, but through other tokens (bottlenecks), the one entry `rollout` stands for
    all layers together. Empty where no attention leads to them at all: concatenation, or no attention weights.
    """
    document = interleaver.prompt(sample)
    batch = collate_prompts([document]).to(next(model.parameters()).device)
    maps, length = attention_maps(model, batch), batch.token_ids.numel()
    last = torch.tensor([len(document) - 1], device=batch.token_ids.device)
    is_medium_L = batch.modality_ids.flatten() > 0
    weights = _reaching(attention_by_layer(maps, len(document) - 1, length), is_medium_L)
    weights = weights or _reaching({ROLLOUT: rollout(maps, last, length)}, is_medium_L)
    if not weights:
        return []
    taken = dict.fromkeys(model.modalities, 0)
    found = []
    for modality, medium, values in shown_media(sample, document):
        places = np.flatnonzero(document.modality_ids == model.modalities.index(modality))
        begin = taken[modality]
        taken[modality] += model.layouts[modality](tuple(values.shape)).count
        layout = model.feature_layouts[modality](tuple(values.shape))
        mine = places[begin : taken[modality]]
        seen = {name: seen_L[mine] for name, seen_L in weights.items()}
        found.append(Attended(modality, appearance(medium, values, layout), seen, layout))
    return found


def _reaching(layers: Mapping[str, Tensor], is_medium_L: Tensor) -> dict[str, np.ndarray]:
    """The layers that give any weight to media."""
    return {name: seen_L.cpu().numpy() for name, seen_L in layers.items() if seen_L[is_medium_L].any()}


def draw_attention(examples: Sequence[tuple[str, Sequence[Attended]]]) -> np.ndarray:
    """A picture uint8 [h, w, 3]: for every example a title, and a row per medium: itself, then each layer's weights."""
    examples = [(title, media[:MAX_MEDIA]) for title, media in examples[:MAX_EXAMPLES]]
    names = list(dict.fromkeys(name for _, media in examples for medium in media for name in medium.weights))
    places = np.unique(np.linspace(0, len(names) - 1, min(len(names), MAX_LAYERS)).round().astype(int))
    layers = [names[place] for place in places] + [""] * (MIN_LAYERS - len(places))
    rows = [len(media) for _, media in examples]
    figure = new_figure(1.9 * (len(layers) + 1), 2.15 * sum(rows) + 0.35 * len(rows))
    boxes = figure.subfigures(len(examples), 1, squeeze=False, height_ratios=rows)[:, 0]
    for box, (title, media) in zip(boxes, examples, strict=True):
        draw_example(box, title, media, layers)
    figure.set_dpi(110)
    return pixels(figure)


def draw_example(box: SubFigure, title: str, media: Sequence[Attended], layers: Sequence[str]) -> None:
    """One example: a row of panels for each medium, empty where there is no such layer."""
    room = 22 * (len(layers) + 1)
    box.suptitle(label(title, room), fontsize=10, fontweight="bold", x=0.01, ha="left")
    panels = box.subplots(len(media), len(layers) + 1, squeeze=False)
    for row, medium in zip(panels, media, strict=True):
        show_medium(row[0], medium)
        row[0].set_title(label(medium.modality, 20), fontsize=8.5)
        for axes, layer in zip(row[1:], layers, strict=True):
            if layer not in medium.weights:
                axes.set_axis_off()
                continue
            show_medium(axes, medium)
            show_weights(axes, medium, medium.weights[layer])
            share = float(medium.weights[layer].sum())
            axes.set_title(f"{label(layer.replace('_', ' '), 20)}: {share:.0%} of attention", fontsize=8.5)


def show_medium(axes: Axes, medium: Attended) -> None:
    """A grid as the image that it is; a line of time as a grey picture of its values. Both fill the unit square."""
    axes.set_xticks([])
    axes.set_yticks([])
    extent = (0.0, 1.0, 0.0, 1.0)
    if medium.layout.grid is not None:
        axes.imshow(medium.shown, extent=extent, interpolation="nearest")
        return
    values = medium.shown.reshape(len(medium.shown), -1).T
    axes.imshow(values, extent=extent, cmap="gray", aspect="auto", origin="lower", interpolation="nearest")
    axes.set_xlabel("time", fontsize=7.5)


def show_weights(axes: Axes, medium: Attended, weights_T: np.ndarray) -> None:
    """Weights over a grid of patches as a veil that opens where attention is; over time as a curve.

    As a curve too where the tokens are not the encoder's features, and so lie nowhere on its grid.
    """
    relative = weights_T / max(float(weights_T.max()), 1e-12)
    if medium.layout.grid is not None and len(weights_T) == medium.layout.count:
        veil = np.zeros((*medium.layout.grid, 4))
        veil[..., 3] = 0.85 * (1 - relative[medium.layout.without_place :].reshape(medium.layout.grid))
        axes.imshow(veil, extent=(0, 1, 0, 1), interpolation="bilinear")
        return
    edges = np.linspace(0, 1, len(weights_T) + 1)
    axes.stairs(0.95 * relative, edges, fill=True, color=COLOURS[1], alpha=0.4)
    for colour, width in (("white", 2.2), ("black", 1.0)):  # in grey the filling is lost on a grey picture
        axes.stairs(0.95 * relative, edges, color=colour, linewidth=width)
    axes.stairs(0.95 * relative, edges, color="#E69F00", linewidth=1.2)
    axes.set_ylim(0, 1)
