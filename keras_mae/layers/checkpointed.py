"""Layers in lists, for TensorFlow's checkpoints."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import tensorflow as tf


class Checkpointed(tf.Module):
    """Makes `tf.train.Checkpoint(model)` save layers that a model holds in a list; it is an attribute of the model.

    Keras 3.15 knows such layers, and TensorFlow does not: it left all blocks of an encoder out, without a word.
    Keras' own files, which save what Keras knows, take no notice of this object.

    Args:
        layers: the layers, in an order that is always the same.
    """

    def __init__(self, layers: Iterable[keras.layers.Layer]) -> None:
        super().__init__()
        self.layers = list(layers)
