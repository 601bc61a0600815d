"""Each part of the augmentation does what it says, to the extent that it says, and nothing when it is off."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from data.media.audio_augmentation import SpectrogramAugmentation


def spectrogram(frames: int = 60, bins: int = 20) -> Tensor:
    return torch.randn(frames, bins, generator=torch.Generator().manual_seed(0))


def augmented(seed: int, values: Tensor | None = None, **strengths: float) -> Tensor:
    augmentation = SpectrogramAugmentation(**strengths)  # type: ignore[arg-type]
    return augmentation(spectrogram() if values is None else values, np.random.default_rng(seed))


def test_no_strength_changes_nothing() -> None:
    torch.testing.assert_close(augmented(0), spectrogram(), rtol=0, atol=1e-5)


def test_stretching_keeps_the_content_and_the_range() -> None:
    ramp = torch.linspace(0, 1, 60)[:, None].expand(60, 20).contiguous()
    lengths = [len(augmented(seed, ramp, stretch=0.2)) for seed in range(100)]
    assert 48 <= min(lengths) < 52
    assert 68 < max(lengths) <= 72
    for seed in range(5):
        values = augmented(seed, ramp, stretch=0.2)
        expected = torch.linspace(0, 1, len(values))[:, None].expand(-1, 20)
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-4)


def test_warping_moves_a_peak_in_proportion_to_its_bin() -> None:
    rows = torch.arange(20.0).expand(5, 20).contiguous()  # the value of a bin is its place
    factors = []
    for seed in range(100):
        values = augmented(seed, rows, warp=0.2)
        factor = (values[0, 5] / 5).item()
        torch.testing.assert_close(values, (rows * factor).clamp(max=19.0), rtol=0, atol=1e-3)
        factors.append(factor)
    assert math.exp(-0.2) <= min(factors) < 0.85
    assert 1.17 < max(factors) <= math.exp(0.2) + 1e-6


def test_tilt_is_a_slope_and_noise_has_its_strength() -> None:
    slopes = [augmented(seed, tilt=0.5) - spectrogram() for seed in range(300)]
    line = torch.linspace(-1, 1, 20).expand(60, 20)
    for change in slopes[:10]:
        torch.testing.assert_close(change, change[0, -1] * line, rtol=0, atol=1e-4)
    assert 0.4 < torch.stack([change[0, -1] for change in slopes]).std().item() < 0.6
    strengths = [(augmented(seed, noise=0.2) - spectrogram()).std().item() for seed in range(100)]
    assert max(strengths) < 0.22
    assert 0.07 < float(np.mean(strengths)) < 0.13


def test_masks_are_whole_bins_and_frames_of_at_most_their_width() -> None:
    means = spectrogram().mean(dim=0).expand(60, 20)

    def masked_in(seed: int, **strengths: float) -> Tensor:
        return (augmented(seed, **strengths) - means).abs() < 1e-5

    bins = [int(masked_in(seed, num_masks=1, mask_bins=6).all(dim=0).sum()) for seed in range(200)]
    assert set(bins) == set(range(7))
    for seed in range(50):
        masked = masked_in(seed, num_masks=2, mask_bins=3, mask_frames=5)
        rows, columns = masked.all(1), masked.all(0)
        assert torch.equal(masked, rows[:, None] | columns[None])
        assert rows.sum() <= 10
        assert columns.sum() <= 6


def test_the_smallest_sound_survives_every_augmentation() -> None:
    full = SpectrogramAugmentation(0.9, 0.9, 0.5, 0.5, 0.5, 1.0, 90.0, -5.0, 0.2, 3, 3, 50, 50)
    for seed in range(50):
        values = full(torch.ones(1, 20), np.random.default_rng(seed))
        assert len(values) >= 1
        assert bool(values.isfinite().all())


def test_speed_varies_within_a_clip_and_time_never_runs_back() -> None:
    ramp = torch.linspace(0, 1, 60)[:, None].expand(60, 20).contiguous()
    speeds = []
    for seed in range(50):
        values = augmented(seed, ramp, local_stretch=0.3)[:, 0]
        steps = values.diff() * 59
        assert values.shape == (60,)
        assert (values[0].item(), values[-1].item()) == pytest.approx((0, 1), abs=1e-5)
        assert bool((steps > 0).all())
        speeds.append([steps[:9].mean().item(), steps[-9:].mean().item()])
    assert 0.15 < np.log(speeds).std() < 0.4
    assert abs(np.corrcoef(np.log(speeds).T)[0, 1]) < 0.6  # pieces differ on their own


def test_a_response_is_the_same_for_all_frames_and_a_band_takes_away_its_ends_alone() -> None:
    sizes = []
    for seed in range(200):
        change = augmented(seed, equaliser=0.6) - spectrogram()
        torch.testing.assert_close(change, change[:1].expand(60, 20), rtol=0, atol=1e-4)
        sizes.append(change[0].square().mean().item())
    assert 0.5 < math.sqrt(np.mean(sizes)) < 0.75
    touched = 0
    for seed in range(200):
        change = (augmented(seed, band=1.0) - spectrogram())[0]
        assert bool((change < 1e-5).all())
        torch.testing.assert_close(change[3:13], torch.zeros(10), rtol=0, atol=1e-4)
        touched += bool(change[-1] < -1)
    assert 100 < touched < 200
    changed = sum((augmented(seed, band=0.3) - spectrogram()).abs().max().item() > 1e-4 for seed in range(200))
    assert 35 < changed < 85


def test_an_echo_follows_a_click_falls_by_60_db_and_never_comes_before_it() -> None:
    click = torch.full((80, 20), -20.0)
    click[30] = 0.0
    heard = 0
    for seed in range(60):
        values = augmented(seed, click, room=30.0)
        assert bool((values[:30] < -19).all())
        assert values[30, 0].item() == pytest.approx(0, abs=1e-3)
        late = values[31:, 0]
        if bool(late[0] > -19):
            heard += 1
            assert bool((late[:29].diff() <= 1e-4).all())
            assert late[31].item() < late[0].item() + math.log(1e-5)
    assert 15 < heard < 45


def test_noise_has_the_ratio_that_it_is_given() -> None:
    ratios = []
    for seed in range(300):
        added = augmented(seed, snr=10.0).exp() - spectrogram().exp()
        assert bool((added > -1e-4).all())
        ratios.append(10 * math.log10(spectrogram().exp().mean().item() / added.mean().item()))
    assert 9 < min(ratios) < 12
    assert 47 < max(ratios) < 51


def test_quiet_frames_come_before_and_behind() -> None:
    quiet, given = spectrogram().amin(dim=0), spectrogram()
    befores = set()
    for seed in range(100):
        values = augmented(seed, pad=4)
        starts = [
            place
            for place in range(len(values) - 59)
            if torch.allclose(values[place : place + 60], given, rtol=0, atol=1e-4)
        ]
        before = starts[0]
        befores.add(before)
        rest = torch.cat([values[:before], values[before + 60 :]])
        torch.testing.assert_close(rest, quiet.expand(len(rest), 20), rtol=0, atol=1e-4)
        assert len(values) - before - 60 <= 4
    assert befores == set(range(5))


def test_what_is_given_is_never_changed() -> None:
    given = spectrogram()
    SpectrogramAugmentation(num_masks=3, mask_bins=6, mask_frames=5, noise=0.2)(given, np.random.default_rng(0))
    assert torch.equal(given, spectrogram())


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        ({"stretch": 1.0}, r"stretch=1.0 must be in \[0, 1\)"),
        ({"band": 1.5}, r"band=1.5 must be in \[0, 1\]"),
        ({"mask_bins": -1}, "mask_bins=-1 must be from 0 to 10000"),
        ({"pad": -1}, "pad=-1 must be from 0 to 10000"),
        ({"snr": 80.0}, "snr=80.0 must be from -50 to 50 dB"),
    ],
)
def test_strengths_are_checked(strengths: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpectrogramAugmentation(**strengths)  # type: ignore[arg-type]
