"""Gray images of capital letters, drawn with the fonts that matplotlib brings along."""

from __future__ import annotations

import glob
import os

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

CLASSES = "ABCDEFGHIJ"
_SIDE = 28
_DRAWN = 112  # pixels of the drawing, which is then scaled down


def letters(per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As many images of each class, in a random order: font, size, angle, slant and place are random.

    Args:
        per_class: number of images of each letter.
        seed: of everything random.

    Returns:
        Images, uint8 `(N, 28, 28, 1)`, white on black, and labels, int64 `(N,)`.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(CLASSES)), per_class))
    return np.stack([_letter(CLASSES[label], rng) for label in labels])[..., None], labels


def _letter(letter: str, rng: np.random.Generator) -> np.ndarray:
    font = ImageFont.truetype(rng.choice(_fonts()), int(rng.integers(64, 96)))
    picture = Image.new("L", (_DRAWN, _DRAWN))
    place = _DRAWN / 2 + rng.uniform(-6, 6, 2)
    ImageDraw.Draw(picture).text(tuple(place), letter, 255, font, anchor="mm")
    slant, angle = rng.uniform(-0.25, 0.25), rng.uniform(-15, 15)
    sheared = picture.transform(picture.size, Image.Transform.AFFINE, (1, slant, -slant * _DRAWN / 2, 0, 1, 0))
    turned = sheared.rotate(angle, Image.Resampling.BILINEAR)
    return np.asarray(turned.resize((_SIDE, _SIDE), Image.Resampling.BOX))


def _fonts() -> list[str]:
    """DejaVu's and STIX' faces with Latin letters."""
    folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
    names = [*glob.glob(f"{folder}/DejaVuSans*.ttf"), *glob.glob(f"{folder}/DejaVuSerif*.ttf")]
    names += glob.glob(f"{folder}/STIXGeneral*.ttf")
    return sorted(name for name in names if "Display" not in name)
