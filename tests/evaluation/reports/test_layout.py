"""Media are shown, attributed and deleted by what their encoder says of its features, not by what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.batching.interleave import Interleaver
from data.tokenizer import Tokenizer
from data.types import BadSampleError, Layout, Media, MediaBatch, Message, Sample, Text
from encoders.base import Encoder
from encoders.projector import MlpProjector
from encoders.projectors.perceiver_resampler import PerceiverResampler
from encoders.text import TokenEmbedding
from evaluation.insight.attention import attended_media, draw_attention, show_weights
from evaluation.insight.attribution import GRADIENT, answered
from evaluation.insight.deletion import deleted
from evaluation.insight.explanation import draw_explanation, explain
from evaluation.insight.preview import drawn_values, words
from evaluation.monitors.monitor import Monitor
from fusion.feed_forward.swiglu import SwiGLU
from fusion.methods.early import EarlyFusion
from fusion.mixers.attention import SelfAttention
from fusion.model import FusionModel
from fusion.positions.rope import Rope

ROWS, COLUMNS, PATCH = 2, 3, 4
HEIGHT, WIDTH, SAMPLES = ROWS * PATCH, COLUMNS * PATCH, 20
Parts = tuple[FusionModel, Tokenizer, Interleaver]


class Depth(Encoder):
    """[N, 1, H, W] -> a class token, then 2 x 3 patches row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.d_output, self.example_shape = 8, (1, HEIGHT, WIDTH)
        self.map, self.token_1C = nn.Conv2d(1, 8, PATCH, PATCH), nn.Parameter(torch.zeros(1, 8))

    def layout(self, shape: tuple[int, ...]) -> Layout:
        if shape != self.example_shape:
            raise ValueError(f"shape {shape} does not fit")
        return Layout(1 + ROWS * COLUMNS, (ROWS, COLUMNS))

    def forward(self, media: MediaBatch) -> Tensor:
        patches_NTC = self.map(media.values).flatten(2).transpose(1, 2)
        return torch.cat([self.token_1C.expand(len(media), 1, 8), patches_NTC], dim=1)


class Vibration(Encoder):
    """[N, S] -> spans of 4 readings, on a line."""

    def __init__(self) -> None:
        super().__init__()
        self.d_output, self.example_shape = 8, (2 * PATCH,)
        self.map = nn.Linear(PATCH, 8)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        return Layout(-(-shape[0] // PATCH))

    def forward(self, media: MediaBatch) -> Tensor:
        x_NS = nn.functional.pad(media.values, (0, -media.values.shape[1] % PATCH))
        return self.map(x_NS.unflatten(1, (-1, PATCH)))


def read_numbers(media: Media, rng: np.random.Generator | None = None) -> Tensor:
    if not isinstance(media.source, Path):
        raise BadSampleError("must be a file")
    return torch.from_numpy(np.loadtxt(media.source, dtype=np.float32))


def read_depth(media: Media, rng: np.random.Generator | None = None) -> Tensor:
    return read_numbers(media)[None]


def parts(projector: Any = MlpProjector) -> Parts:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["how far?", "near", "far"] * 8, 280)
    model = FusionModel(
        d_model=16,
        text=partial(TokenEmbedding, vocab_size=tokenizer.vocab_size),
        encoders={"depth": Depth(), "vibration": Vibration()},
        projector=projector,
        fusion=partial(
            EarlyFusion,
            num_layers=1,
            mixer=partial(SelfAttention, num_heads=2, num_kv_heads=1, position=Rope),
            feed_forward=SwiGLU,
        ),
    ).eval()
    processors = {"depth": read_depth, "vibration": read_numbers}
    return model, tokenizer, Interleaver(tokenizer, processors, model.layouts, model.modalities, 64)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    rng = np.random.default_rng(0)
    np.savetxt(tmp_path / "depth.txt", rng.random((HEIGHT, WIDTH)))
    np.savetxt(tmp_path / "vibration.txt", rng.standard_normal(SAMPLES))
    media = (Media("depth", tmp_path / "depth.txt"), Media("vibration", tmp_path / "vibration.txt"))
    return Sample("1", (Message("user", (*media, Text("how far?"))), Message("assistant", (Text("near"),))))


def test_regions_are_the_patches_of_a_grid_and_the_spans_of_a_line(sample: Sample) -> None:
    model, tokenizer, interleaver = parts()
    item = answered(model, tokenizer, interleaver, sample, "near")
    depth = [region for region in item.regions if region.modality == "depth"]
    assert [region.part for region in depth] == [
        (..., slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]
    places = np.flatnonzero(item.document.modality_ids == 1)
    assert [region.tokens for region in depth] == [(place,) for place in places[1:]], "a class token lies nowhere"
    line = [region for region in item.regions if region.modality == "vibration"]
    assert [region.part for region in line] == [(slice(4 * n, 4 * n + 4),) for n in range(SAMPLES // PATCH)]


def test_what_is_deleted_of_a_grid_becomes_its_mean_and_of_a_line_that_over_time(sample: Sample) -> None:
    item = answered(*parts(), sample, "near")
    (_, depth), (_, line) = item.document.media
    (_, depth_after), (_, line_after) = deleted(item.document, [item.regions[0], item.regions[-3]]).media
    torch.testing.assert_close(depth_after[:, :4, :4], depth.mean().expand(1, 4, 4))
    assert torch.equal(depth_after[:, 4:], depth[:, 4:])
    changed = line_after != line
    assert 0 < changed.sum() <= PATCH
    torch.testing.assert_close(line_after[changed], line.mean().expand(int(changed.sum())))


def test_attention_opens_a_veil_over_a_grid_and_is_a_curve_over_time(sample: Sample) -> None:
    model, _, interleaver = parts()
    depth, line = attended_media(model, interleaver, sample)
    values = interleaver.prompt(sample).media[0][1]
    assert (depth.modality, depth.shown.shape) == ("depth", (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(depth.shown, drawn_values(values))
    assert depth.shown[..., 0].argmax() == values.flatten().argmax()
    assert (line.modality, line.shown.shape) == ("vibration", (SAMPLES, 1))
    weights = depth.weights["layer_1"]
    veil = Panel()
    show_weights(veil, depth, weights)  # type: ignore[arg-type]
    assert veil.images[0].shape == (ROWS, COLUMNS, 4)
    assert veil.images[0][..., 3].argmin() == weights[1:].argmax()
    curve = Panel()
    show_weights(curve, line, line.weights["layer_1"])  # type: ignore[arg-type]
    assert curve.images == []
    assert curve.curves
    assert draw_attention([("a title", [depth, line])]).dtype == np.uint8


def test_tokens_that_a_projector_made_of_the_features_lie_on_no_grid(sample: Sample) -> None:
    """Four of them are not 2 x 2 patches, whatever their number."""
    resampler = partial(PerceiverResampler, num_queries=4, num_layers=1, num_heads=2)
    model, tokenizer, interleaver = parts(resampler)
    depth = attended_media(model, interleaver, sample)[0]
    panel = Panel()
    show_weights(panel, depth, depth.weights["layer_1"])  # type: ignore[arg-type]
    assert panel.images == []
    assert panel.curves
    regions = answered(model, tokenizer, interleaver, sample, "near").regions
    assert all(not region.tokens for region in regions if region.modality == "depth")


def test_an_explanation_lies_on_the_grid(sample: Sample) -> None:
    explanation = explain(*parts(), sample, "near")
    figure = draw_explanation(explanation)
    overlay = np.asarray(figure.axes[1].images[1].get_array())
    assert overlay.shape == (ROWS, COLUMNS, 4)
    scores = np.abs(explanation.scores[GRADIENT][: ROWS * COLUMNS])
    assert overlay[..., 3].argmax() == scores.argmax()
    names = [axes.get_title(loc="left").partition(":")[0] for axes in figure.axes]
    assert names == sorted(names, key=["depth", "vibration", "text"].index)
    assert figure.axes[len(figure.axes) // 3].get_xlabel() == "time"


def test_validation_shows_a_picture_of_a_grid_and_of_readings(sample: Sample) -> None:
    model, tokenizer, interleaver = parts()
    seen = Tables()
    monitor = Monitor(
        {"mine": Samples([sample])},
        tokenizer,
        interleaver,
        image_cell=lambda pixels: pixels,
        audio_cell=lambda *clip, caption: "played",
    )
    monitor(model, 1, seen)
    columns, ((_, depth, vibration, question, *_),) = seen.table_1
    assert columns == ("task", "depth", "vibration", "question", "expected", "answer", "right")
    np.testing.assert_array_equal(depth, drawn_values(interleaver.prompt(sample).media[0][1]))
    assert (vibration.dtype, vibration.shape[2]) == (np.uint8, 3)
    assert question == "how far?"
    assert len(seen.images) == 1, "and what the answer attends to"


def test_a_sentence_is_shown_as_it_is_read() -> None:
    turn = Message("user", (Media("sentence", b"a red kangaroo"), Text("true?")))
    assert words(Sample("1", (turn, Message("assistant", (Text("no"),))))) == "a red kangaroo true?"


def test_a_grid_holds_no_more_than_there_is() -> None:
    with pytest.raises(ValueError, match=r"grid=\(2, 3\) must hold 1 to 5 features"):
        Layout(5, (2, 3))
    assert (Layout(7, (2, 3)).without_place, Layout(7).without_place) == (1, 0)


def test_coordinates_and_times_are_those_of_the_values() -> None:
    nan = float("nan")
    patches = [[nan, 0, 0], [nan, 0, 1], [nan, 1, 0], [nan, 1, 1]]
    np.testing.assert_array_equal(Layout(5, (2, 2)).coordinates, [[nan] * 3, *patches])
    np.testing.assert_array_equal(Layout(2).coordinates, [[0, nan, nan], [1, nan, nan]])
    np.testing.assert_array_equal(Layout(3, ticks=(2.0, 4.0)).times, [2, 6, 10])
    assert Layout(2).times.isnan().all()
    assert Layout(5, (2, 2)).times.isnan().all()
    with pytest.raises(ValueError, match="the second must be above 0"):
        Layout(2, ticks=(0.5, 0.0))


class Panel:
    """Axes that keep what is drawn."""

    def __init__(self) -> None:
        self.images: list[Any] = []
        self.curves = 0

    def imshow(self, image: Any, **options: Any) -> None:
        self.images.append(image)

    def stairs(self, *values: Any, **options: Any) -> None:
        self.curves += 1

    def set_ylim(self, *limits: float) -> None:
        """Nothing to keep."""


class Samples:
    """A source of given samples."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        return self.samples[index]

    def texts(self) -> list[str]:
        return []


class Tables:
    """Keeps the last table and the pictures of a validation."""

    def __init__(self) -> None:
        self.table_1: Any = None
        self.images: list[Any] = []

    def log(self, step: int, metrics: Any) -> None:
        """Nothing to keep."""

    def image(self, step: int, name: str, image: Any, caption: str = "") -> None:
        self.images.append(image)

    def table(self, step: int, name: str, columns: Any, rows: Any) -> None:
        self.table_1 = (columns, rows)
