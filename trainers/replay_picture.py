"""A picture of the images of one step, with their masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mae.data.display import Display
from keras_mae.example_seed import ExampleSeed
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.trainers import pictures

_DRAWN = 16
_HIDDEN = 128  # the gray of a masked patch


def draw_batch(
    model: MaskedImageModel, images: tf.Tensor, batch: int, found: Sequence[Any], of_8_bits: bool, path: str
) -> None:
    """Writes a PNG with the first of some images, as the step has masked them.

    Args:
        model: at the beginning of the step.
        images: `(B, H, W, C)` of the step.
        batch: the number of the step, counted from 0.
        found: `BatchImage`s, in the order in which they are drawn.
        of_8_bits: whether the images have 8 bits.
        path: of the PNG.
    """
    shown = found[:_DRAWN]
    places = [image.place for image in shown]
    _, mask = model.mask(images, seed=ExampleSeed.for_step(model.seed, batch, len(images)))
    images, hidden = tf.gather(images, places), tf.gather(mask.mask, places)
    originals = np.round(images.numpy()).astype("uint8") if of_8_bits else images.numpy()
    display = Display(originals)
    height, width = model.encoder.patch_size
    gray = hidden.numpy().reshape(-1, *model.encoder.grid, 1).repeat(height, axis=1).repeat(width, axis=2)
    stacks = [display(originals), np.where(gray > 0, _HIDDEN, display(originals))]
    headings, notes = ["original", "masked", "reconstructed"], list(display.notes)
    if model.target.has_pixels:
        reconstruction = model.reconstruct(images, mask=hidden)["reconstruction"].numpy()
        stacks.append(display(reconstruction))
        if not np.isfinite(reconstruction).all():
            notes.append("Red: not finite.")
    captions = [f"#{image.index} {image.name}, loss {image.loss:.4g}" for image in shown]
    grid = pictures.picture_grid(stacks, headings[: len(stacks)], notes, captions=captions)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    pictures.save(grid, path)
