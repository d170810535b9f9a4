"""Encoders: from images to tokens.

Classes are imported on first use (PEP 562): settings take the names of presets and poolings from here, without
TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from keras_mae.encoders.pooling import POOLINGS

if TYPE_CHECKING:
    from keras_mae.encoders.encoder import Encoder, Tokens
    from keras_mae.encoders.vit import ViTEncoder

__all__ = ["POOLINGS", "Encoder", "Tokens", "ViTEncoder"]
_HOME = {"Encoder": "encoder", "Tokens": "encoder", "ViTEncoder": "vit"}


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module("keras_mae._backend")  # refuses another backend
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
