"""Saving of a compiled model without its optimizer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def uncompiled(model: keras.Model) -> Iterator[None]:
    """Removes the optimizer from a model while it is saved: the file holds the weights, and no moments.

    With Adam such a file has a third of the size, and it loads where the optimizer's class is not known. Keras 3.15
    saves the optimizer of every compiled model, and has `include_optimizer` for HDF5 files alone.

    Args:
        model: any Keras model, which must not train meanwhile.

    Example:

    >>> with uncompiled(mae):
    ...     mae.save("mae.keras")
    """
    attributes = vars(model)  # not setattr: TensorFlow's checkpoints would track the optimizer twice
    compiled = {key: attributes[key] for key in ("optimizer", "compiled") if key in attributes}
    attributes.update(optimizer=None, compiled=False)
    try:
        yield
    finally:
        del attributes["optimizer"], attributes["compiled"]
        attributes.update(compiled)
