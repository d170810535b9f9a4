"""Draws `docs/masks.png`: what each mask sampler hides of photographs; and `docs/front.png`, the README's picture.

    python -m benchmarks.mask_gallery

The photographs are scikit-image's. The README's picture is the left half of `docs/photographs.png`, which
`benchmarks.photographs` draws.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
from PIL import Image

from benchmarks.photo_crops import BUNDLED, photographs
from keras_mae.example_seed import ExampleSeed
from keras_mae.layers.geometry import Geometry
from keras_mae.masking import BlockMasking, GridMasking, MaskSampler, RandomMasking, UnitMasking
from keras_mae.trainers.pictures import picture_grid

NAMES = ("astronaut.png", "chelsea.png", "coffee.png")
SIDE, PATCH = 224, 16  # pixels
HIDDEN = 128  # the gray of hidden patches
_FRONT_HEIGHT = 440  # of docs/photographs.png, above its notes


def samplers() -> dict[str, MaskSampler]:
    """The samplers of the picture, all at a ratio of 0.75, by their headings."""
    units = UnitMasking(unit=2 * PATCH, mask_ratio=0.75)
    image, grid = (SIDE, SIDE, 3), (SIDE // PATCH, SIDE // PATCH)
    levels = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    units.attach(
        Geometry(image, grid, hidden_dim=1, num_prefix_tokens=0, **levels)
    )  # the sampler reads sizes of patches
    return {
        "random": RandomMasking(0.75),
        "units of 32 pixels": units,
        "blocks": BlockMasking(0.75),
        "grid": GridMasking(),
    }


def squares() -> np.ndarray:
    """The middle squares of the photographs, uint8 `(N, SIDE, SIDE, 3)`."""
    found = dict(zip(BUNDLED, photographs(None)))
    pictures = []
    for name in NAMES:
        picture = Image.fromarray(found[name])
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side))
        pictures.append(np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
    return np.stack(pictures)


def hidden(images: np.ndarray, sampler: MaskSampler) -> np.ndarray:
    """The images, gray where a mask of the sampler hides them."""
    grid = (SIDE // PATCH, SIDE // PATCH)
    mask = sampler(grid, len(images), ExampleSeed.of(seed=0, step=0)).mask.numpy()  # (N, L)
    mask = mask.reshape(len(images), *grid).repeat(PATCH, axis=1).repeat(PATCH, axis=2)[..., None]
    return np.where(mask == 1, HIDDEN, images).astype("uint8")


def draw(output: str, photographs_picture: str = os.path.join("docs", "photographs.png")) -> list[str]:
    """Writes both pictures, and returns their paths."""
    images = squares()
    drawn = {name: hidden(images, sampler) for name, sampler in samplers().items()}
    paths = [os.path.join(output, name) for name in ("masks.png", "front.png")]
    gallery = picture_grid([images, *drawn.values()], ["original", *drawn], columns=1)
    gallery.quantize(256, dither=Image.Dither.NONE).save(paths[0], optimize=True)
    picture = Image.open(photographs_picture)
    picture.crop((0, 0, picture.width // 2, _FRONT_HEIGHT)).save(paths[1], optimize=True)
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="docs")
    for path in draw(parser.parse_args().output):
        print(f"wrote {path}, {os.path.getsize(path) / 1000:.0f} kB")
