"""Random resized crops with Pillow in worker processes: what the input pipeline is compared with."""

from __future__ import annotations

import math
import random

import numpy as np
from PIL import Image


def augmented(path: str, size: int, rng: random.Random) -> np.ndarray:
    """Decode, crop, resize (bicubic), flip: uint8 `(size, size, 3)`."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    for _ in range(10):
        area, aspect = width * height * rng.uniform(0.2, 1.0), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if w <= width and h <= height:
            break
    else:
        w = h = min(width, height)
    left, top = rng.randint(0, width - w), rng.randint(0, height - h)
    image = image.crop((left, top, left + w, top + h)).resize((size, size), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image)


def batch(task: tuple[list[str], int, int]) -> np.ndarray:
    """A batch of them, from `(paths, size, seed)`."""
    paths, size, seed = task
    rng = random.Random(seed)
    return np.stack([augmented(path, size, rng) for path in paths])
