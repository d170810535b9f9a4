"""A repair of keras.layers.TFSMLayer, which it needs before it trains with Adam."""

from __future__ import annotations

import keras

from keras_mae import _compat


def mend_names(layer: keras.layers.TFSMLayer) -> keras.layers.TFSMLayer:
    """Removes the `:0` from the names of a `TFSMLayer`'s weights, in place.

    Keras (3.15) names them after TensorFlow's variables, whose names end in `:0`, and then refuses every optimizer
    that keeps a slot for each weight (Adam, AdamW, SGD with momentum): "'..._kernel:0_momentum' is not a valid scope
    name". Call this before `compile`.

    Args:
        layer: a `keras.layers.TFSMLayer`.

    Returns:
        The same layer.

    Example:

    >>> layer = keras.layers.TFSMLayer(path, call_endpoint="embed", call_training_endpoint="embed_training")
    >>> images = keras.Input((28, 28, 1), dtype="uint8")
    >>> logits = keras.layers.Dense(10)(mend_names(layer)(images)["embedding"])
    """
    for weight in layer.weights:
        _compat.rename(weight, weight.name.replace(":0", ""), weight.path.replace(":0", ""))
    return layer
