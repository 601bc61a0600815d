"""What the answering position attends to, and a picture of it over image patches and audio frames.

Shape legend: K layers, T tokens of a medium, L tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from data.collate import collate_prompts
from data.interleave import Interleaver
from data.types import AUDIO, IMAGE, Sample
from evaluation.figures import pixels
from evaluation.preview import picture, prompt_media
from fusion.attention_maps import attention_maps
from fusion.model import FusionModel

MAX_LAYERS = 6


@dataclass(frozen=True)
class Attended:
    """One medium of a prompt and the attention that it gets.

    shown: what to draw: uint8 [H, W, 3] for an image, else the processed values ([frames, bins] for sound).
    weights: [K, T], attention of the position that gives the first token of the answer, mean over heads.
    """

    modality: str
    shown: np.ndarray
    weights: np.ndarray


def attended_media(model: FusionModel, interleaver: Interleaver, sample: Sample) -> list[Attended]:
    """The media of a sample with the answering position's attention; empty if no layer has attention weights."""
    document = interleaver.prompt(sample)
    batch = collate_prompts([document]).to(next(model.parameters()).device)
    maps = attention_maps(model, batch)
    if not maps:
        return []
    weights_KL = np.stack([layer[0, :, len(document) - 1].mean(0).float().cpu().numpy() for layer in maps])
    pictures = iter(prompt_media(sample, IMAGE))
    taken = dict.fromkeys(model.modalities, 0)
    found = []
    for modality, values in document.media:
        places = np.flatnonzero(document.modality_ids == model.modalities.index(modality))
        begin = taken[modality]
        taken[modality] += model.num_tokens[modality](tuple(values.shape))
        shown = picture(next(pictures)) if modality == IMAGE else values.cpu().numpy()
        found.append(Attended(modality, shown, weights_KL[:, places[begin : taken[modality]]]))
    return found


def draw_attention(examples: Sequence[tuple[str, Sequence[Attended]]]) -> np.ndarray:
    """A picture uint8 [H, W, 3]: for every example a title, and a row per medium: itself, then each layer's weights."""
    num_layers = max(len(medium.weights) for _, media in examples for medium in media)
    layers = np.unique(np.linspace(0, num_layers - 1, min(num_layers, MAX_LAYERS)).round().astype(int))
    rows = [len(media) for _, media in examples]
    figure = Figure(figsize=(1.9 * (len(layers) + 1), 2.15 * sum(rows) + 0.35 * len(rows)), layout="constrained")
    boxes = figure.subfigures(len(examples), 1, squeeze=False, height_ratios=rows)[:, 0]
    for box, (title, media) in zip(boxes, examples, strict=True):
        draw_example(box, title, media, layers)
    figure.set_dpi(110)
    return pixels(figure)


def draw_example(box: SubFigure, title: str, media: Sequence[Attended], layers: np.ndarray) -> None:
    """One example: a row of panels for each medium."""
    room = 22 * (len(layers) + 1)
    shown = title if len(title) <= room else f"{title[: room - 3]}..."
    box.suptitle(shown, fontsize=10, fontweight="bold", x=0.01, ha="left")
    panels = box.subplots(len(media), len(layers) + 1, squeeze=False)
    for row, medium in zip(panels, media, strict=True):
        show_medium(row[0], medium)
        row[0].set_title(medium.modality, fontsize=8.5)
        for axes, layer in zip(row[1:], layers, strict=True):
            show_medium(axes, medium)
            show_weights(axes, medium, medium.weights[layer])
            share = float(medium.weights[layer].sum())
            axes.set_title(f"layer {layer + 1}: {share:.0%} of attention", fontsize=8.5)


def show_medium(axes: Axes, medium: Attended) -> None:
    """An image as it is; anything else as a grey picture of its values over time. Both fill the unit square."""
    axes.set_xticks([])
    axes.set_yticks([])
    extent = (0.0, 1.0, 0.0, 1.0)
    if medium.modality == IMAGE:
        axes.imshow(medium.shown, extent=extent, interpolation="nearest")
        return
    values = medium.shown.reshape(len(medium.shown), -1).T
    axes.imshow(values, extent=extent, cmap="gray", aspect="auto", origin="lower", interpolation="nearest")
    if medium.modality == AUDIO:
        axes.set_xlabel("time", fontsize=7.5)


def show_weights(axes: Axes, medium: Attended, weights_T: np.ndarray) -> None:
    """Weights over a square of patches as a veil that opens where attention is; over time as a curve."""
    relative = weights_T / max(float(weights_T.max()), 1e-12)
    side = round(len(weights_T) ** 0.5)
    if medium.modality == IMAGE and side * side == len(weights_T):
        veil = np.zeros((side, side, 4))
        veil[..., 3] = 0.85 * (1 - relative.reshape(side, side))
        axes.imshow(veil, extent=(0, 1, 0, 1), interpolation="bilinear")
        return
    edges = np.linspace(0, 1, len(weights_T) + 1)
    axes.stairs(0.95 * relative, edges, fill=True, color="#E69F00", alpha=0.4)
    axes.stairs(0.95 * relative, edges, color="#E69F00", linewidth=1.2)
    axes.set_ylim(0, 1)
