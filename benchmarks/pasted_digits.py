"""Handwritten digits pasted on crops of photographs, with the class of every pixel."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from benchmarks.photo_crops import halves, photographs
from keras_mae.data.sources import digits_source

SIDE = 32  # of an image, in pixels
CLASSES = ("background", *map(str, range(10)))
_CROP = (32, 128)  # pixels of a photograph that become an image, from, to
_DARK, _INK = 0.6, (200, 255)  # how much darker photographs become, and the level of ink, from, to


@functools.cache
def _parts(of_test: bool) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Photographs, digits and labels; those to train on and those for the test have nothing in common."""
    digits = digits_source("test" if of_test else "train")
    gray = [picture.mean(axis=-1) for picture in halves(photographs(None))[0 if of_test else 1]]
    return [picture for picture in gray if min(picture.shape) >= _CROP[1]], digits.images[..., 0], digits.labels


def scenes(count: int, seed: int, of_test: bool) -> tuple[np.ndarray, np.ndarray]:
    """Darkened gray photographs, each with a bright digit at a random place.

    Args:
        count: number of images, `N`.
        seed: of everything random.
        of_test: whether digits and regions of photographs are those for the test.

    Returns:
        Images, uint8 `(N, SIDE, SIDE, 1)`, and classes, int32 `(N, SIDE, SIDE)`: 0 for the background, a digit plus 1
        where its ink covers more than half of what is behind it. All digits are as frequent.
    """
    backgrounds, digits, labels = _parts(of_test)
    rng = np.random.default_rng((seed, of_test))
    images = np.empty((count, SIDE, SIDE, 1), "uint8")
    masks = np.zeros((count, SIDE, SIDE), "int32")
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        picture, side = backgrounds[rng.integers(len(backgrounds))], int(rng.integers(_CROP[0], _CROP[1] + 1))
        top, left = (int(rng.integers(length - side + 1)) for length in picture.shape)
        crop = Image.fromarray(picture[top : top + side, left : left + side].astype("float32"))
        below = _DARK * np.asarray(crop.resize((SIDE, SIDE), Image.Resampling.BOX))
        index = rng.choice(np.flatnonzero(labels == number % 10))
        ink, place = np.zeros((SIDE, SIDE), "float32"), rng.integers(SIDE - len(digits[index]) + 1, size=2)
        ink[place[0] : place[0] + 28, place[1] : place[1] + 28] = digits[index] / 255
        image[..., 0] = np.round(below + (rng.uniform(*_INK) - below) * ink)
        mask[ink > 0.5] = labels[index] + 1
    return images, masks
