"""Square crops of photographs that share no place, and copies of them as they come about: resized, JPEG, mirrored."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

# of scikit-image's and scikit-learn's pictures those that are photographs of different things
BUNDLED = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png"),
    *("gravel.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
SIDES = (48, 96)  # of a crop, in pixels: from, to
_SHORT = 1200  # pixels of a photograph's shorter side at most; larger ones are scaled down
_SMALL, _WINDOW = 32, 24  # pixels at which two crops are compared
_SHARED, _DETAIL, _ALIKE, _OF_ONE = 0.1, 4.0, 0.9, 0.1
_TRIES = 60  # places that are tried for a crop


def photographs(folder: str | None) -> list[np.ndarray]:
    """The bundled photographs, and those that lie in a folder at any depth: uint8 `(H, W, 3)`, in a fixed order."""
    import skimage
    import sklearn.datasets

    bundled = os.path.join(os.path.dirname(skimage.__file__), "data")
    paths = [os.path.join(bundled, name) for name in BUNDLED]
    paths += sorted(glob.glob(os.path.join(os.path.dirname(sklearn.datasets.__file__), "images", "*.jpg")))
    if folder is not None:
        paths += picture_paths(folder)
    pictures = []
    for path in paths:
        picture = Image.open(path).convert("RGB")
        ratio = _SHORT / min(picture.size)
        if ratio < 1:
            size = (round(picture.width * ratio), round(picture.height * ratio))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        pictures.append(np.asarray(picture))
    return pictures


def picture_paths(folder: str) -> list[str]:
    """The files of a folder, at any depth, that are pictures by their names, in order."""
    there = glob.glob(os.path.join(folder, "**", "*.*"), recursive=True)
    return sorted(path for path in there if path.lower().endswith(ENDINGS) and os.path.isfile(path))


def halves(pictures: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of each photograph the left 40 % and the rest."""
    cut = [round(0.4 * picture.shape[1]) for picture in pictures]
    return [p[:, :at] for p, at in zip(pictures, cut)], [p[:, at:] for p, at in zip(pictures, cut)]


def crops(pictures: list[np.ndarray], count: int, seed: int) -> list[Image.Image]:
    """Random squares of `SIDES` pixels, from each photograph by its area."""
    places = _places(pictures, seed)
    return [_cut(pictures, next(places)) for _ in range(count)]


def crops_apart(pictures: list[np.ndarray], count: int, seed: int) -> list[Image.Image]:
    """`crops` without those that are duplicates of another one to begin with.

    Two crops of a photograph share at most a tenth of the smaller one. The mean step between neighbouring pixels, at
    32 x 32 gray pixels, is 4 levels or more, as one piece of blue sky is like another. The middle of these, 24 x 24
    pixels, has a correlation below 0.9 with each of nine such windows of any other crop, 0, 4 or 8 pixels from its
    edges, and of its mirror image. At most a tenth of the crops are of one photograph.

    Raises:
        ValueError: if there is no place for so many.
    """
    found: list[Image.Image] = []
    taken: list[list[tuple[int, int, int]]] = [[] for _ in pictures]
    middles = np.empty((count, _WINDOW * _WINDOW), np.float32)
    for number, *square in itertools.islice(_places(pictures, seed), _TRIES * count):
        if len(found) == count:
            return found
        here = taken[number]
        if len(here) >= _OF_ONE * count or any(_shared(other, square) > _SHARED for other in here):
            continue
        crop = _cut(pictures, (number, *square))
        small = np.asarray(crop.convert("L").resize((_SMALL, _SMALL), Image.Resampling.BOX), np.float32)
        if (np.abs(np.diff(small, axis=0)).mean() + np.abs(np.diff(small, axis=1)).mean()) / 2 < _DETAIL:
            continue
        windows = _windows(small)
        if (middles[: len(found)] @ np.stack([*windows, *_windows(small[:, ::-1])]).T > _ALIKE).any():
            continue
        middles[len(found)] = windows[4]
        here.append((square[0], square[1], square[2]))
        found.append(crop)
    raise ValueError(f"these {len(pictures)} photographs have room for {len(found)} crops, not for {count}: give more")


def _places(pictures: list[np.ndarray], seed: int) -> Iterator[tuple[int, int, int, int]]:
    """Yields random squares: the photograph's number, top, left, side."""
    rng = np.random.default_rng(seed)
    areas = np.array([picture.shape[0] * picture.shape[1] for picture in pictures], float)
    areas[[min(picture.shape[:2]) < SIDES[1] for picture in pictures]] = 0
    while True:
        number, side = int(rng.choice(len(pictures), p=areas / areas.sum())), int(rng.integers(SIDES[0], SIDES[1] + 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in pictures[number].shape[:2])
        yield number, top, left, side


def _cut(pictures: list[np.ndarray], place: tuple[int, int, int, int]) -> Image.Image:
    number, top, left, side = place
    return Image.fromarray(pictures[number][top : top + side, left : left + side])


def _windows(small: np.ndarray) -> list[np.ndarray]:
    """Nine windows of a small gray picture, each as a vector with mean 0 and length 1; the fifth is its middle."""
    windows = [small[y : y + _WINDOW, x : x + _WINDOW].ravel() for y in (0, 4, 8) for x in (0, 4, 8)]
    windows = [window - window.mean() for window in windows]
    return [window / max(float(np.linalg.norm(window)), 1e-6) for window in windows]


def _shared(a: Sequence[int], b: Sequence[int]) -> float:
    """The part of the smaller of two squares `(top, left, side)` that both have."""
    rows, columns = (max(0, min(a[i] + a[2], b[i] + b[2]) - max(a[i], b[i])) for i in (0, 1))
    return rows * columns / min(a[2], b[2]) ** 2


def _resized(picture: Image.Image, path: str) -> str:
    side = round(0.5 * picture.width)
    picture.resize((side, side), Image.Resampling.BICUBIC).save(f"{path}.png")
    return f"{path}.png"


def _jpeg(picture: Image.Image, path: str) -> str:
    picture.save(f"{path}.jpg", quality=50)
    return f"{path}.jpg"


def _mirrored(picture: Image.Image, path: str) -> str:
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(f"{path}.png")
    return f"{path}.png"


# Each writes a copy to a path without ending, and returns the path with it
COPIES: dict[str, Callable[[Image.Image, str], str]] = {"resized": _resized, "jpeg50": _jpeg, "mirrored": _mirrored}


def write_planted(folder: str, originals: list[Image.Image], each: int) -> dict[str, dict[str, str]]:
    """Writes crops, and `each` copies of every kind, each of another crop, into a folder.

    Returns:
        For each kind the names of the copies, with those of their originals.
    """
    os.makedirs(folder)
    for index, original in enumerate(originals):
        original.save(os.path.join(folder, f"{index:05}.png"))
    found: dict[str, dict[str, str]] = {}
    for number, (kind, write) in enumerate(COPIES.items()):
        found[kind] = {}
        for index in range(number * each, (number + 1) * each):
            path = write(originals[index], os.path.join(folder, f"{index:05}-{kind}"))
            found[kind][os.path.basename(path)] = f"{index:05}.png"
    return found
