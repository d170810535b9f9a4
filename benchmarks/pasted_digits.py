"""Handwritten digits pasted on crops of photographs, with the class of every pixel."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from benchmarks.photo_crops import halves, photographs
from keras_mae.data.sources import digits_source

SIDE = 48  # of an image, in pixels
CLASSES = ("background", *map(str, range(10)))
_DIGIT = (24, 40)  # pixels of a digit's box of 28 x 28, from, to
_CROP = (48, 144)  # pixels of a photograph that become an image, from, to
_MOST = 2  # digits in an image
_CONTRAST = 70  # levels, root mean square of the channels, between a digit and the photograph below it


@functools.cache
def _parts(of_test: bool) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Photographs, digits and labels; those to train on and those for the test have nothing in common."""
    digits = digits_source("test" if of_test else "train")
    return halves(photographs(None))[0 if of_test else 1], digits.images[..., 0], np.asarray(digits.labels)


def scenes(count: int, seed: int, of_test: bool) -> tuple[np.ndarray, np.ndarray]:
    """Photographs with one or two digits each, of any colour that stands out, size and place.

    Args:
        count: number of images, `N`.
        seed: of everything random.
        of_test: whether digits and regions of photographs are those for the test.

    Returns:
        Images, uint8 `(N, SIDE, SIDE, 3)`, and classes, int32 `(N, SIDE, SIDE)`: 0 for the background, a digit plus 1
        where its ink covers more than half of what is behind it.
    """
    backgrounds, digits, labels = _parts(of_test)
    backgrounds = [picture for picture in backgrounds if min(picture.shape[:2]) >= _CROP[1]]
    rng = np.random.default_rng((seed, of_test))
    images = np.empty((count, SIDE, SIDE, 3), "uint8")
    masks = np.zeros((count, SIDE, SIDE), "int32")
    for image, mask in zip(images, masks, strict=True):
        picture, side = backgrounds[rng.integers(len(backgrounds))], int(rng.integers(_CROP[0], _CROP[1] + 1))
        top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
        crop = Image.fromarray(picture[top : top + side, left : left + side])
        scene = np.asarray(crop.resize((SIDE, SIDE), Image.Resampling.BOX), "float32")
        for _ in range(rng.integers(1, _MOST + 1)):
            index = int(rng.integers(len(digits)))
            scene = _pasted(scene, mask, digits[index], int(labels[index]) + 1, rng)
        image[:] = np.round(scene)
    return images, masks


def _pasted(scene: np.ndarray, mask: np.ndarray, digit: np.ndarray, label: int, rng: np.random.Generator) -> np.ndarray:
    size = int(rng.integers(_DIGIT[0], _DIGIT[1] + 1))
    top, left = rng.integers(SIDE - size + 1, size=2)
    ink = np.zeros((SIDE, SIDE), "float32")
    scaled = Image.fromarray(digit).resize((size, size), Image.Resampling.BILINEAR)
    ink[top : top + size, left : left + size] = np.asarray(scaled, "float32") / 255
    below = (scene * ink[..., None]).sum(axis=(0, 1)) / ink.sum()
    colour = rng.uniform(0, 255, 3)
    while np.sqrt(np.mean((colour - below) ** 2)) < _CONTRAST:
        colour = rng.uniform(0, 255, 3)
    mask[ink > 0.5] = label
    return scene + (colour - scene) * ink[..., None]
