"""Images whose every pixel shows its class by its colour, with masks, in memory and in folders."""

import os

import numpy as np
from PIL import Image

COLOURS = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250], [250, 250, 10]])
PALETTE = [level for number in range(256) for level in (255 - number, number, 7 * number % 256)]


def scene(height, width, seed, classes=4, tile=8):
    """An image uint8 `(H, W, 3)` of tiles of one colour, and their classes, uint8 `(H, W)`."""
    tiles = np.random.default_rng(seed).integers(0, classes, (height // tile + 1, width // tile + 1))
    mask = np.kron(tiles, np.ones((tile, tile)))[:height, :width].astype("uint8")
    return COLOURS[mask].astype("uint8"), mask


def palette_png(mask):
    """A mask as an image whose indices are the classes."""
    image = Image.fromarray(mask)
    image.putpalette(PALETTE)
    return image


def write_pair(folder, name, image, mask, below=""):
    """Writes an image into `images`, and its mask into `masks`: an array as gray levels, or a Pillow image."""
    for kind, one in (("images", image), ("masks", mask)):
        path = os.path.join(folder, kind, below, f"{name}.png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        (one if isinstance(one, Image.Image) else Image.fromarray(one)).save(path)


def write_scenes(folder, sizes, below="", seed=0):
    """Writes a scene of each size, every other mask with a palette; returns the specification and the masks."""
    masks = []
    for number, (height, width) in enumerate(sizes):
        image, mask = scene(height, width, seed + number)
        masks.append(mask)
        write_pair(folder, f"{number:02}", image, palette_png(mask) if number % 2 else mask, below)
    return f"pairs:{folder}/images,{folder}/masks", masks
