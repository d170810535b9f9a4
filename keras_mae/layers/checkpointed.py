"""Layers in lists and other containers, for TensorFlow's checkpoints."""

from __future__ import annotations

import keras
import tensorflow as tf


class Checkpointed(tf.Module):
    """Makes `tf.train.Checkpoint(layer)` save every weight of a layer, or model, of which it is an attribute.

    Keras 3.15 tracks layers in lists, and TensorFlow does not: without this object its checkpoints silently lack all
    blocks of an encoder. Keras' own files, which save what Keras tracks, ignore this object.

    Args:
        layer: a built layer; layers in its lists may get more weights later (LoRA).
    """

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__()
        self.weights = [variable.value for variable in layer.weights]
        lists = (value for value in vars(layer).values() if isinstance(value, (list, tuple)))
        self.layers = [part for held in lists for part in held if isinstance(part, keras.layers.Layer)]
