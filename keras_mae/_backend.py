"""Imports Keras; an ImportError for another backend than TensorFlow."""

from __future__ import annotations

import os

_REMEDY = (
    "keras_mae trains with tf.distribute and exports SavedModels, so it needs the TensorFlow backend. "
    "Set the environment variable KERAS_BACKEND=tensorflow (or remove it) before Python starts."
)

# Checked before Keras is imported: with KERAS_BACKEND=jax and no jax installed, Keras' own error names only jax.
_asked = os.environ.get("KERAS_BACKEND", "tensorflow")
if _asked != "tensorflow":
    raise ImportError(f"KERAS_BACKEND is {_asked!r}. {_REMEDY}")

import keras  # noqa: E402

if keras.config.backend() != "tensorflow":
    raise ImportError(f"Keras runs on the backend {keras.config.backend()!r}. {_REMEDY}")
