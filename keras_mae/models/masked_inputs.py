"""The inputs of a pretraining model: images, alone or with noise or a mask for their patches."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf


def unpacked(inputs) -> tuple[tf.Tensor, Any, Any]:
    """Images, noise or None, and mask or None, from the inputs of a call; a ValueError for a dict with other keys."""
    if not isinstance(inputs, dict):
        return tf.convert_to_tensor(inputs), None, None
    unknown = set(inputs) - {"images", "noise", "mask"}
    if "images" not in inputs or unknown or {"noise", "mask"} <= set(inputs):
        raise ValueError(
            'a dict of inputs holds "images" and at most one of "noise" and "mask"; got the keys '
            f"{', '.join(map(repr, inputs))}"
        )
    tensors = {key: tf.convert_to_tensor(value) for key, value in inputs.items()}
    return tensors["images"], tensors.get("noise"), tensors.get("mask")


def per_patch(name: str, values, images, grid: tuple[int, ...]) -> tf.Tensor:
    """The noise or mask; a ValueError if its shape is not `(B, L)`."""
    expected = (images.shape[0], math.prod(grid))
    if values.shape.rank is None:
        return tf.ensure_shape(values, expected)
    shape = tuple(values.shape)
    if len(shape) != 2 or any(None not in (got, want) and got != want for got, want in zip(shape, expected)):
        raise ValueError(
            f"{name} holds one number a patch, shape (batch, {expected[1]}) for the {' x '.join(map(str, grid))} grid "
            f"and the images' batch of {images.shape[0]}; got {shape}"
        )
    return values
