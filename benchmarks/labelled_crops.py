"""Crops of photographs, labelled by the photograph: from other regions of it to train on and to test on."""

from __future__ import annotations

import numpy as np

SIDE, SHORT_SIDE, TILE = 32, 384, 64  # of a crop, of a scaled photograph, of a tile that crops do not leave
NAMES = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel"),
    *("hubble_deep_field", "moon", "page", "retina", "rocket"),
)


def photographs() -> list[np.ndarray]:
    """The photographs that scikit-learn and scikit-image bring along, gray, float32 `(H, W)` in [0, 255].

    The shorter side has `SHORT_SIDE` pixels.
    """
    import skimage.data
    import tensorflow as tf
    from sklearn.datasets import load_sample_images

    found = []
    for image in (*load_sample_images().images, *(getattr(skimage.data, name)() for name in NAMES)):
        gray = image[..., :3].mean(axis=-1) if image.ndim == 3 else image
        size = tuple(round(SHORT_SIDE * side / min(gray.shape)) for side in gray.shape)
        scaled = tf.image.resize(gray[..., None], size, "bicubic", antialias=True)
        found.append(np.clip(scaled.numpy()[..., 0], 0, 255).astype("float32"))
    return found


def crops(per_class: int, seed: int, of_test: bool) -> tuple[np.ndarray, np.ndarray]:
    """Crops of each photograph, and its number.

    Photographs are cut into tiles of `TILE` pixels; like the fields of a chessboard, every other tile is for training,
    and the rest for the test. A crop lies within one tile. Its mean and contrast are set to those of all crops, as
    brightness alone would tell some photographs apart.

    Args:
        per_class: crops of a photograph.
        seed: of their places.
        of_test: of the tiles for the test.

    Returns:
        uint8 `(N, SIDE, SIDE, 1)` and int64 `(N,)`.
    """
    rng = np.random.default_rng((seed, of_test))
    images, labels = [], []
    for label, photograph in enumerate(photographs()):
        rows, columns = (side // TILE for side in photograph.shape)
        tiles = [(row, column) for row in range(rows) for column in range(columns) if (row + column) % 2 == of_test]
        for row, column in (tiles[index] for index in rng.integers(len(tiles), size=per_class)):
            top, left = (TILE * place + rng.integers(TILE - SIDE + 1) for place in (row, column))
            crop = photograph[top : top + SIDE, left : left + SIDE]
            images.append(np.clip(128 + 50 * (crop - crop.mean()) / max(crop.std(), 1.0), 0, 255))
            labels.append(label)
    order = rng.permutation(len(images))
    return np.round(np.stack(images)[order, ..., None]).astype("uint8"), np.asarray(labels, "int64")[order]
