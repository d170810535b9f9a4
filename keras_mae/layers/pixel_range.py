"""A guard against the most common mistake: images scaled to [0, 1]."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import tensorflow as tf

_warned = False


def warn_if_unit_range(inputs: Any) -> None:
    """Warns, once a process, if float images look as if they lay in [0, 1] instead of [0, 255].

    Args:
        inputs: images (a NumPy array or an eager tensor), or a dict or tuple whose first entry they are, or a
            `tf.data.Dataset` of any of these, of which one element is then looked at if its images are floats.
            Symbolic tensors and generators pass unseen.
    """
    global _warned
    if _warned:
        return
    if isinstance(inputs, tf.data.Dataset):
        spec = tf.nest.flatten(_images(inputs.element_spec))[0]
        if not getattr(spec, "dtype", tf.uint8).is_floating:
            return
        inputs = next(iter(inputs.take(1)), None)
    images = _images(inputs)
    if hasattr(images, "numpy"):
        images = images.numpy()
    if not isinstance(images, np.ndarray) or not images.size or images.dtype.kind in "iub":
        return
    if 0 < images[:256].max() <= 1:
        _warned = True
        warnings.warn(
            "float images are expected in [0, 255], and these look like [0, 1]: multiply them by 255, or pass uint8 "
            "(pixels are normalised inside the model)",
            stacklevel=3,
        )


def _images(inputs: Any) -> Any:
    """The images in what `fit` or a call is given."""
    if isinstance(inputs, (tuple, list)) and inputs:
        inputs = inputs[0]
    return inputs.get("images") if isinstance(inputs, dict) else inputs
