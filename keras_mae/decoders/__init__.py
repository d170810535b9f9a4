"""Decoders: from the encoder's tokens to a prediction for each patch."""

from keras_mae import _backend  # noqa: F401
from keras_mae.decoders.cross import CrossDecoder
from keras_mae.decoders.decoder import Decoder
from keras_mae.decoders.linear import LinearDecoder
from keras_mae.decoders.transformer import MAEDecoder

__all__ = ["CrossDecoder", "Decoder", "LinearDecoder", "MAEDecoder"]
