"""Encoders: from images to tokens."""

from keras_mae import _backend  # noqa: F401
from keras_mae.encoders.encoder import POOLINGS, Encoder, Tokens
from keras_mae.encoders.vit import ViTEncoder

__all__ = ["POOLINGS", "Encoder", "Tokens", "ViTEncoder"]
