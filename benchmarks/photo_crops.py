"""Square crops of photographs that share no place, and copies of them as they come about: resized, JPEG, mirrored."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

# of scikit-image's and scikit-learn's pictures those that are photographs of different things
BUNDLED = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png"),
    *("gravel.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
SIDES = (48, 96)  # of a crop, in pixels: from, to
_SHORT = 1200  # pixels of a photograph's shorter side at most; larger ones are scaled down
_SMALL = 32  # pixels at which two crops are compared
_SHARED, _DETAIL, _ALIKE = 0.1, 4.0, 0.9
_TRIES = 50  # places that are tried for a crop


def photographs(folder: str | None) -> list[np.ndarray]:
    """The bundled photographs, and those that lie in a folder at any depth: uint8 `(H, W, 3)`, in a fixed order."""
    import skimage
    import sklearn.datasets

    bundled = os.path.join(os.path.dirname(skimage.__file__), "data")
    paths = [os.path.join(bundled, name) for name in BUNDLED]
    paths += sorted(glob.glob(os.path.join(os.path.dirname(sklearn.datasets.__file__), "images", "*.jpg")))
    if folder is not None:
        there = glob.glob(os.path.join(folder, "**", "*.*"), recursive=True)
        paths += sorted(path for path in there if path.lower().endswith((".jpg", ".jpeg", ".png", ".webp")))
    pictures = []
    for path in paths:
        picture = Image.open(path).convert("RGB")
        ratio = _SHORT / min(picture.size)
        if ratio < 1:
            size = (round(picture.width * ratio), round(picture.height * ratio))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        pictures.append(np.asarray(picture))
    return pictures


def halves(pictures: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of each photograph the left 40 % and the rest."""
    cut = [round(0.4 * picture.shape[1]) for picture in pictures]
    return [p[:, :at] for p, at in zip(pictures, cut)], [p[:, at:] for p, at in zip(pictures, cut)]


def crops(pictures: list[np.ndarray], count: int, seed: int, apart: bool) -> list[Image.Image]:
    """Random squares of `SIDES` pixels, from each photograph by its area.

    Args:
        pictures: uint8 `(H, W, 3)`.
        count: how many.
        seed: of the places.
        apart: leave out what is a duplicate of another crop to begin with: two crops of a photograph share at most a
            tenth of the smaller one; the mean step between neighbouring pixels, at 32 x 32 gray pixels, is 4 levels or
            more (one piece of blue sky is like another); and the correlation of these pixels with those of any other
            crop, or of its mirror image, is below 0.9.

    Raises:
        ValueError: if there is no place for so many.
    """
    rng = np.random.default_rng(seed)
    pictures = [picture for picture in pictures if min(picture.shape[:2]) >= SIDES[1]]
    areas = np.array([picture.shape[0] * picture.shape[1] for picture in pictures], float)
    found: list[Image.Image] = []
    places: list[list[tuple[int, int, int]]] = [[] for _ in pictures]
    seen = np.empty((count, _SMALL * _SMALL), np.float32)
    for _ in range(_TRIES * count):
        if len(found) == count:
            return found
        number, side = int(rng.choice(len(pictures), p=areas / areas.sum())), int(rng.integers(SIDES[0], SIDES[1] + 1))
        picture = pictures[number]
        top, left = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
        crop = Image.fromarray(picture[top : top + side, left : left + side])
        if apart:
            if any(_shared(other, (top, left, side)) > _SHARED for other in places[number]):
                continue
            small = np.asarray(crop.convert("L").resize((_SMALL, _SMALL), Image.Resampling.BOX), np.float32)
            steps = (np.abs(np.diff(small, axis=0)).mean() + np.abs(np.diff(small, axis=1)).mean()) / 2
            sides = [
                (x - x.mean()).ravel() / max(float(np.linalg.norm(x - x.mean())), 1e-6) for x in (small, small[:, ::-1])
            ]
            if steps < _DETAIL or any((seen[: len(found)] @ x > _ALIKE).any() for x in sides):
                continue
            seen[len(found)] = sides[0]
            places[number].append((top, left, side))
        found.append(crop)
    raise ValueError(f"these {len(pictures)} photographs have room for {len(found)} crops, not for {count}: give more")


def _shared(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    """The part of the smaller of two squares `(top, left, side)` that both have."""
    rows, columns = (max(0, min(a[i] + a[2], b[i] + b[2]) - max(a[i], b[i])) for i in (0, 1))
    return rows * columns / min(a[2], b[2]) ** 2


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _resized(picture: Image.Image) -> Image.Image:
    side = round(0.5 * picture.width)
    return picture.resize((side, side), Image.Resampling.BICUBIC)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized to half": _resized,
    "JPEG, quality 50": lambda picture: _jpeg(picture, 50),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def planted(originals: list[Image.Image], each: int) -> Iterator[tuple[str, int, Image.Image]]:
    """`each` copies of every kind, each of another original: the kind, the original's index, the copy."""
    for number, (kind, copied) in enumerate(COPIES.items()):
        for index in range(number * each, (number + 1) * each):
            yield kind, index, copied(originals[index])
