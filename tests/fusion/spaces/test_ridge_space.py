"""A space that starts as the regressions of the report, whose learned part stays bounded and is learned at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from data.batching.interleave import Interleaver
from data.batching.loader import BatchStream
from data.batching.mixture import Mixture
from data.types import AUDIO, IMAGE, TEXT, BadInputError
from evaluation.retrieval.embedding import embed, read_aligned
from evaluation.retrieval.frozen_baseline import pooled_features
from evaluation.retrieval.ridge import centred, ridge_predictions
from fusion.model import FusionModel
from fusion.spaces.ridge_space import Anchor, RidgeSpace
from tests.data.memory import RawProcessor, tokenizer
from tests.evaluation.retrieval.test_frozen_baseline import Meaning
from tests.training.tiny import CONFIG, tiny_model
from training.objectives.contrastive import InfoNCE
from training.optimizers.groups import muon
from training.preparation.anchoring import fit_shared_space, sample_features
from training.steps.accumulation import accumulate

SPACE = {"_target_": "fusion.spaces.ridge_space.RidgeSpace", "_partial_": True, "d_embedding": 6, "residual": 0.3}
NUM_TRAIN, NUM_TEST = 60, 24
CPU = torch.device("cpu")


def frozen_model(*names: str, **space: Any) -> FusionModel:
    """A tiny model in which these encoders are not trained."""
    encoders: Any = CONFIG["encoders"]
    made = tiny_model(encoders=encoders)
    encoder = {name: made.media_encoders[name].encoder for name in made.modalities[1:]}
    for name in names:
        encoder[name].requires_grad_(False)
    made.shared_space = RidgeSpace(made.d_model, made.modalities, **{"d_embedding": 6, "residual": 0.3, **space})
    made.shared_space.meet({name: encoder[name].d_output for name in names})
    return made


def reader(model: FusionModel) -> Interleaver:
    processors = {IMAGE: RawProcessor(), AUDIO: RawProcessor()}
    return Interleaver(tokenizer(), processors, model.layouts, model.modalities, 64)


def stream_of(model: FusionModel, source: Meaning) -> BatchStream:
    return BatchStream(Mixture({"pairs": (source, 1.0)}, 0, 12), reader(model), 12, reads=("aligned",))


def fitted(**space: Any) -> FusionModel:
    model = frozen_model(IMAGE, AUDIO, **space)
    fit_shared_space(model, stream_of(model, Meaning(NUM_TRAIN)), 3 * NUM_TRAIN, CPU)
    return model.eval()


def test_the_space_starts_as_both_regressions_of_the_report() -> None:
    model = fitted()
    names, features = (IMAGE, AUDIO), {}
    for key, source in (("train", Meaning(NUM_TRAIN)), ("test", Meaning(NUM_TEST, first=1000))):
        samples = read_aligned(source)
        found = pooled_features(model, reader(model), samples, range(len(samples)), names)
        features |= {(key, name): found[name].values for name in names}
    cosines = {}
    for first, second in (names, names[::-1]):
        predicted = ridge_predictions(features["train", first], features["train", second], features["test", first])
        cosines[first] = predicted @ centred(features["test", second], features["train", second]).T
    expected = (cosines[IMAGE] + cosines[AUDIO].T) / 2
    embedded = embed(model, reader(model), read_aligned(Meaning(NUM_TEST, first=1000)))
    similarity = embedded[IMAGE].values @ embedded[AUDIO].values.T
    # What is learned is of length 0.002 at first, and enters by its square.
    np.testing.assert_allclose(similarity, expected, atol=1e-3)
    assert np.abs(expected).max() > 0.8


def test_embeddings_have_length_one_and_a_learned_part_that_is_bounded() -> None:
    model = fitted()
    space = model.shared_space
    assert isinstance(space, RidgeSpace)
    with torch.no_grad():
        space.heads[IMAGE].weight.mul_(1e6)
    found = embed(model, reader(model), read_aligned(Meaning(NUM_TEST, first=1000)))
    for name in (IMAGE, AUDIO):
        assert np.allclose(np.linalg.norm(found[name].values, axis=1), 1, atol=1e-5)
    parts = [np.linalg.norm(part, axis=1) for part in np.split(found[IMAGE].values, [space.d_anchor], axis=1)]
    np.testing.assert_allclose(parts[1] / parts[0], 0.3, rtol=1e-4)


def test_only_what_is_learned_moves_and_it_does_where_there_are_two_frozen_media_alone() -> None:
    torch.manual_seed(0)
    model = fitted().train()
    before = {name: value.clone() for name, value in model.shared_space.state_dict().items()}
    stream, optimizer = stream_of(model, Meaning(NUM_TRAIN)), muon(model, lr=0.02, adamw_lr=1e-2)
    losses = []
    for index in range(30):
        losses.append(accumulate(model, InfoNCE(), [stream[index]]).mean)
        optimizer.step()
        optimizer.zero_grad()
    after = model.shared_space.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert not {name for name in moved if name.startswith("anchors")}
    assert {f"heads.{name}.weight" for name in (IMAGE, AUDIO)} <= moved
    assert float((after["heads.image.weight"] - before["heads.image.weight"]).abs().max()) > 0.01
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_what_is_trained_is_learned_into_the_whole_space() -> None:
    space = frozen_model(IMAGE, AUDIO).shared_space
    assert isinstance(space, RidgeSpace)
    widths = {name: head.out_features for name, head in space.heads.items()}
    anchored = space.d_anchor
    assert widths == {TEXT: anchored + 6, AUDIO: 6, IMAGE: 6}
    assert space.d_embedding == anchored + 6


def test_a_sample_that_is_read_in_several_looks_counts_once_with_their_mean() -> None:
    class Looks(Meaning):
        """Brighter by one in every second look."""

        def sample(self, index: int, rng: np.random.Generator) -> Any:
            sample = super().sample(index, rng)
            drawn.setdefault(index, []).append(float(rng.integers(2)))
            image, sound = sample.segments
            return type(sample)(
                sample.id, (type(image)(IMAGE, image.source + drawn[index][-1]), sound), origin=sample.origin
            )

    drawn: dict[int, list[float]] = {}
    model = frozen_model(IMAGE, AUDIO)
    stream = stream_of(model, Looks(8))
    values, samples = sample_features(model, stream, 24, CPU)[IMAGE]
    assert (values.shape[0], samples.tolist()) == (8, list(range(8)))
    order = list(dict.fromkeys(stream.mixture.locate(position)[1] for position in range(24)))
    for row, index in enumerate(order):
        image = next(s for s in Meaning(8).sample(index, np.random.default_rng(0)).segments if s.modality == IMAGE)
        looks = [
            pooled(model, image.source + brightness)  # type: ignore[operator]
            for brightness in drawn[index][:3]
        ]
        np.testing.assert_allclose(values[row], np.mean(looks, axis=0), rtol=1e-5, atol=1e-6)


def pooled(model: FusionModel, pixels: torch.Tensor) -> np.ndarray:
    from data.types import MediaBatch

    media = MediaBatch(pixels[None], torch.tensor([list(pixels.shape)]), torch.zeros(1, dtype=torch.long))
    with torch.no_grad():
        return model.media_encoders[IMAGE].encoder(media)[0].mean(dim=0).numpy()  # type: ignore[union-attr,operator]


def test_what_cannot_be_fitted_is_said_before_the_training() -> None:
    lonely = frozen_model(IMAGE)
    with pytest.raises(BadInputError, match=r"^shared_space: needs two frozen encoders or more, has none$"):
        fit_shared_space(lonely, stream_of(lonely, Meaning(4)), 4, CPU)
    model = frozen_model(IMAGE, AUDIO)
    apart = Meaning(8, lacking=(AUDIO, IMAGE))
    with pytest.raises(BadInputError, match=r"0 training samples have both image and audio; needs 2 or more"):
        fit_shared_space(model, stream_of(model, apart), 8, CPU)
    with pytest.raises(ValueError, match=r"residual=0 must be above 0"):
        RidgeSpace(8, ("text", "image"), residual=0)


def test_what_a_training_withholds_is_not_fitted_on() -> None:
    """Else a model trained without pictures would know from its regressions what they show."""
    model = frozen_model(IMAGE, AUDIO)
    shown = stream_of(model, Meaning(8))
    shown.interleaver.withheld = frozenset({IMAGE})
    assert list(sample_features(model, shown, 8, CPU)) == [AUDIO]
    with pytest.raises(BadInputError, match=r"^shared_space: 0 training samples have both"):
        fit_shared_space(model, shown, 8, CPU)


def test_an_anchor_that_is_not_fitted_is_nothing() -> None:
    anchor = Anchor(IMAGE, {IMAGE: 3, AUDIO: 2})
    assert not anchor(torch.ones(4, 3)).any()
    assert not any(parameter.requires_grad for parameter in anchor.parameters())
