"""The models. Importing this package registers for `keras.saving.load_model` every class that a file can name.

`PyramidBackbone` is a class of KerasHub, which is imported on first use (PEP 562).
"""

import importlib

from keras_mae import (
    _backend,  # noqa: F401
    optimizers,  # noqa: F401  in files of models that were saved with theirs
)
from keras_mae.decoders import CrossDecoder, LinearDecoder, MAEDecoder
from keras_mae.encoders import Encoder, ViTEncoder
from keras_mae.models.image_classifier import ImageClassifier
from keras_mae.models.image_head import ImageHead
from keras_mae.models.image_regressor import ImageRegressor
from keras_mae.models.image_segmenter import ImageSegmenter
from keras_mae.models.masked_autoencoder import MaskedAutoencoder
from keras_mae.models.simmim import SimMIM

__all__ = [
    "CrossDecoder",
    "Encoder",
    "ImageClassifier",
    "ImageHead",
    "ImageRegressor",
    "ImageSegmenter",
    "LinearDecoder",
    "MAEDecoder",
    "MaskedAutoencoder",
    "SimMIM",
    "ViTEncoder",
]


def __getattr__(name: str):
    if name != "PyramidBackbone":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.pyramid_backbone").PyramidBackbone
