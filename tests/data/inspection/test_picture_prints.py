"""A picture is known again in another format, size and light; another picture, or another colour, is not."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from data.inspection.prints.picture_prints import MAX_DISTANCE, alike, picture_print
from tests.data.inspection.made import picture


def encoded(image: Image.Image, form: str, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, form, quality=quality)
    return Image.open(file).convert("RGB")


def noisy(image: Image.Image) -> Image.Image:
    values = np.asarray(image) + np.random.default_rng(0).normal(0, 5, (*image.size[::-1], 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG": lambda image: encoded(image, "JPEG", 50),
    "WebP": lambda image: encoded(image, "WEBP", 60),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
    "noise": noisy,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_known_again_and_no_other(change: str) -> None:
    pictures = [picture(seed) for seed in range(30)]
    found = alike([picture_print(image) for image in (*pictures, *map(CHANGES[change], pictures))])
    assert {(first, second) for first, second, _ in found} == {(place, place + 30) for place in range(30)}
    assert all(distance <= MAX_DISTANCE for _, _, distance in found)


def test_no_two_of_many_pictures_are_alike() -> None:
    assert alike([picture_print(picture(seed)) for seed in range(400)]) == []


def test_the_same_drawing_in_another_colour_is_another_picture() -> None:
    drawings = []
    for colour in ((200, 30, 30), (30, 30, 200)):
        drawing = Image.new("RGB", (64, 64), (250, 250, 250))
        drawing.paste(colour, (20, 20, 44, 44))
        drawings.append(picture_print(drawing))
    assert bin(drawings[0].code ^ drawings[1].code).count("1") <= MAX_DISTANCE
    assert alike(drawings) == []


def test_pictures_of_one_colour_are_alike_to_nothing() -> None:
    flat = [picture_print(Image.new("RGB", (40, 30), colour)) for colour in ("white", "white", "black", "red")]
    assert all(item.is_flat for item in flat)
    assert alike(flat) == []
    assert not picture_print(picture(0)).is_flat


def test_any_four_bits_may_differ_and_five_may_not() -> None:
    """The five parts of the hash find every pair within the distance, wherever the bits are."""
    base = picture_print(picture(1))
    draws = np.random.default_rng(0)
    for _ in range(200):
        bits = draws.permutation(64)
        near, far = (sum(1 << int(bit) for bit in bits[:count]) for count in (4, 5))
        changed = [type(base)(base.code ^ mask, base.colours, False) for mask in (near, far)]
        assert alike([base, changed[0]]) == [(0, 1, 4)]
        assert alike([base, changed[1]]) == []
