"""Crops of photographs, labelled by the photograph: from other regions of it to train on and to test on."""

from __future__ import annotations

import os
import re

import numpy as np
from PIL import Image

from benchmarks.photo_crops import picture_paths

SIDE = 32  # pixels of a crop
NAMES = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel"),
    *("hubble_deep_field", "moon", "page", "retina", "rocket"),
)
_SHORT, _TILE = 12, 2  # crops along the shorter side of a scaled photograph, and along a tile
_WINDOW, _DETAIL, _DETAILED, _EQUAL = 8, 4.0, 0.25, 0.45
_SIZE_AS_NAME = re.compile(r"\d+x\d+\.\w+")
_THUMB, _ALIKE = 16, 0.8
_FLAT = 4.0
_TRIES = 100


def photographs(folder: str | None = None, side: int = SIDE) -> list[np.ndarray]:
    """Photographs in gray, float32 `(H, W)` in [0, 255], in a fixed order; the shorter side has 12 crops' pixels.

    They are those that scikit-learn and scikit-image bring along, and those that lie in a folder at any depth. Of the
    folder's pictures some are left out, by their gray forms: those that would have to be enlarged; those that are no
    photographs, in which the standard deviation is 4 levels or less in more than three quarters of all windows of
    8 x 8 pixels, or 45 % or more of the pixels equal the next one; and other forms of one picture, of which the largest
    stays: files of one directory that are named by their sizes, such as 1080x1920.png, and those with a correlation
    beyond 0.8, either way, of thumbnails of 16 x 16 pixels, squeezed or of the middle.

    Args:
        folder: None for the bundled ones only.
        side: of a crop, in pixels.
    """
    import skimage.data
    import tensorflow as tf
    from sklearn.datasets import load_sample_images

    found = []
    for image in (*load_sample_images().images, *(getattr(skimage.data, name)() for name in NAMES)):
        gray = image[..., :3].mean(axis=-1) if image.ndim == 3 else image
        size = tuple(round(_SHORT * side * length / min(gray.shape)) for length in gray.shape)
        scaled = tf.image.resize(gray[..., None], size, "bicubic", antialias=True)
        found.append(np.clip(scaled.numpy()[..., 0], 0, 255).astype("float32"))
    return found if folder is None else found + _of_folder(folder, _SHORT * side)


def _of_folder(folder: str, short: int) -> list[np.ndarray]:
    sized = []
    for path in picture_paths(folder):
        with Image.open(path) as picture:
            sized.append((picture.width * picture.height, min(picture.size), path))
    found: dict[str, np.ndarray] = {}
    sizes_of: set[str] = set()
    thumbs = np.zeros((0, 2, _THUMB * _THUMB), "float32")
    for _, smaller, path in sorted(sized, key=lambda each: (-each[0], each[2])):
        directory, name = os.path.split(path)
        if smaller < short or directory in sizes_of:
            continue
        if _SIZE_AS_NAME.fullmatch(name):
            sizes_of.add(directory)
        with Image.open(path) as picture:
            picture.draft("L", (short, short))  # of a JPEG: decoded at a fraction of its size, not below this one
            size = tuple(round(short * length / min(picture.size)) for length in picture.size)
            gray = picture.convert("L").resize(size, Image.Resampling.LANCZOS)
        thumb = np.stack([_thumb(gray, whole) for whole in (True, False)])
        if (np.abs(np.einsum("nkd,kd->nk", thumbs, thumb)) > _ALIKE).any():
            continue
        pixels = np.asarray(gray, "float32")
        if _is_photograph(pixels):
            found[path] = pixels
            thumbs = np.concatenate([thumbs, thumb[None]])
    return [found[path] for path in sorted(found)]


def _thumb(gray, whole: bool) -> np.ndarray:
    """A thumbnail, of the whole picture or of its middle, with mean 0 and length 1."""
    left, top = (0 if whole else (length - min(gray.size)) / 2 for length in gray.size)
    box = (left, top, gray.width - left, gray.height - top)
    small = np.asarray(gray.resize((_THUMB, _THUMB), Image.Resampling.BOX, box=box), "float32").ravel()
    small = small - small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def _is_photograph(gray: np.ndarray) -> bool:
    rows, columns = (length // _WINDOW for length in gray.shape)
    windows = gray[: rows * _WINDOW, : columns * _WINDOW].reshape(rows, _WINDOW, columns, _WINDOW)
    detailed = np.mean(windows.std(axis=(1, 3)) > _DETAIL)
    return bool(detailed >= _DETAILED and np.mean(np.diff(gray, axis=1) == 0) < _EQUAL)


def crops(
    pictures: list[np.ndarray],
    per_class: int,
    seed: int,
    of_test: bool,
    side: int = SIDE,
    tile: int | None = None,
    flat: float = _FLAT,
) -> tuple[np.ndarray, np.ndarray]:
    """Crops of each photograph, and its number.

    Photographs are cut into tiles of two crops' sides; like the fields of a chessboard, every other tile is for
    training, and the rest for the test. A crop lies within one tile. Crops that are nearly flat are left out. Mean and
    contrast are set to those of all crops, as brightness alone would tell some photographs apart.

    Args:
        pictures: from `photographs`.
        per_class: crops of a photograph.
        seed: of their places.
        of_test: of the tiles for the test.
        side: of a crop, in pixels.
        tile: side of a tile, in pixels; None for two crops' sides.
        flat: standard deviation, in levels, below which a crop is nearly flat; 0 to take all crops.

    Returns:
        uint8 `(N, side, side, 1)` and int64 `(N,)`.

    Raises:
        ValueError: for a photograph without detail.
    """
    rng = np.random.default_rng((seed, of_test))
    tile = tile or _TILE * side
    images: list[np.ndarray] = []
    labels = np.repeat(np.arange(len(pictures)), per_class)
    for label, photograph in enumerate(pictures):
        rows, columns = (length // tile for length in photograph.shape)
        tiles = [(row, column) for row in range(rows) for column in range(columns) if (row + column) % 2 == of_test]
        for row, column in (
            tiles[index] for index in rng.integers(len(tiles), size=(_TRIES if flat else 1) * per_class)
        ):
            if len(images) == (label + 1) * per_class:
                break
            top, left = (tile * place + rng.integers(tile - side + 1) for place in (row, column))
            crop = photograph[top : top + side, left : left + side]
            if crop.std() >= flat:
                images.append(np.clip(128 + 50 * (crop - crop.mean()) / max(crop.std(), 1.0), 0, 255))
        if len(images) < (label + 1) * per_class:
            raise ValueError(f"photograph {label} has too little detail for {per_class} crops: leave it out")
    order = rng.permutation(len(images))
    return np.round(np.stack(images)[order, ..., None]).astype("uint8"), labels[order].astype("int64")
