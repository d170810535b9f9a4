"""The reference that a pretraining loss is compared with."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.targets import PixelTarget, TokenTarget
from keras_mae.trainers.reference import Reference


def reference_loss(model: MaskedImageModel, images: np.ndarray) -> Reference | None:
    """The loss of a network that has not learned any detail.

    For pixels it is the loss of predicting each patch's mean: 1 if patches are normalised (less for patches without
    contrast, whose loss is 0), else it depends on the images. For tokens it is that of the uniform distribution. A loss
    on visible patches, which are alike, is added with its weight.

    Args:
        model: its target and loss; its weights do not matter.
        images: a sample, `(N, H, W, C)` in [0, 255].

    Returns:
        The reference; None for other targets.
    """
    terms = 1.0 + model.visible_weight
    if isinstance(model.target, PixelTarget):
        target = model.target(images)  # (N, L, dim)
        means = tf.broadcast_to(tf.reduce_mean(target, axis=-1, keepdims=True), tf.shape(target))
        return Reference(terms * float(model.masked_loss(target, means)), "each patch's mean")
    if isinstance(model.target, TokenTarget):
        return Reference(terms * math.log(model.target.vocabulary_size), "every token alike")
    return None
