"""The models. Importing this package registers for `keras.saving.load_model` every class that a file can name."""

from keras_mae import (
    _backend,  # noqa: F401
    optimizers,  # noqa: F401  in files of models that were saved with theirs
)
from keras_mae.models.decoder import MAEDecoder
from keras_mae.models.image_classifier import ImageClassifier
from keras_mae.models.linear_decoder import LinearDecoder
from keras_mae.models.masked_autoencoder import MaskedAutoencoder
from keras_mae.models.simmim import SimMIM
from keras_mae.models.vit_encoder import ViTEncoder

__all__ = ["ImageClassifier", "LinearDecoder", "MAEDecoder", "MaskedAutoencoder", "SimMIM", "ViTEncoder"]
