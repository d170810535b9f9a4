"""A compiled model, saved as if it had never been compiled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def uncompiled(model: keras.Model) -> Iterator[None]:
    """Takes the optimizer from a model for as long as it is saved: the file holds what is learned, and no moments.

    Such a file is a third of the size with Adam, and loads where the optimizer's class is not known. Keras (3.15) saves
    the optimizer of every compiled model, and takes `include_optimizer` for HDF5 files alone.

    Args:
        model: any Keras model; it must not be training meanwhile.

    Example:

    >>> with uncompiled(mae):
    ...     mae.save("mae.keras")
    """
    attributes = vars(model)  # not setattr, by which TensorFlow's checkpoints would come to know the optimizer twice
    compiled = {key: attributes[key] for key in ("optimizer", "compiled") if key in attributes}
    attributes.update(optimizer=None, compiled=False)
    try:
        yield
    finally:
        del attributes["optimizer"], attributes["compiled"]
        attributes.update(compiled)
