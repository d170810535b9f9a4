"""Masked image modelling for TensorFlow and Keras: pretrain, probe, fine-tune and serve Vision Transformers.

The names below are resolved on first use (PEP 562), so that `import keras_mae` and `keras-mae --help`
import neither TensorFlow nor Keras.
"""

from __future__ import annotations

import importlib
import os

__version__ = "0.1.0"

# A wheel has `trainers` and `export` inside this package; a checkout (and Bazel) has them beside it.
if not os.path.isdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "trainers")):
    __path__.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

_HOME = {
    "Encoder": "keras_mae.encoders",
    "ViTEncoder": "keras_mae.encoders",
    "MAEDecoder": "keras_mae.decoders.transformer",
    "CrossDecoder": "keras_mae.decoders.cross",
    "LinearDecoder": "keras_mae.decoders.linear",
    "MaskedAutoencoder": "keras_mae.models.masked_autoencoder",
    "SimMIM": "keras_mae.models.simmim",
    "ImageClassifier": "keras_mae.models.image_classifier",
    "ImageHead": "keras_mae.models.image_head",
    "ImageRegressor": "keras_mae.models.image_regressor",
    "ImageSegmenter": "keras_mae.models.image_segmenter",
    "load_checkpoint": "keras_mae.checkpoints.load",
    "load_encoder": "keras_mae.checkpoints.description",
    "save_checkpoint": "keras_mae.checkpoints.save",
}
_SUBPACKAGES = (
    "checkpoints",
    "data",
    "decoders",
    "encoders",
    "export",
    "layers",
    "losses",
    "masking",
    "models",
    "optimizers",
    "retrieval",
    "targets",
    "trainers",
    "training",
)

__all__ = ["__version__", *_HOME, *_SUBPACKAGES]


def __getattr__(name: str):
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _SUBPACKAGES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
