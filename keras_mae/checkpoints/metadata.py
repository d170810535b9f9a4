"""What our own files say of their model beside its tensors: the grid, and constructor arguments as JSON."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

import keras

from keras_mae.decoders import MAEDecoder
from keras_mae.encoders import ViTEncoder

GRID_KEY = "keras_mae.grid"
ENCODER_KEY, DECODER_KEY = "keras_mae.encoder", "keras_mae.decoder"
_TUPLES = ("image_shape", "patch_size", "mean", "std", "encoder_layers")  # tuples, which JSON has as lists


def own_arguments(part: type[keras.layers.Layer]) -> list[str]:
    """The names of a class' own constructor arguments."""
    return [name for name in inspect.signature(part).parameters if name not in ("name", "kwargs")]


def metadata_of(model: keras.Model) -> dict[str, str]:
    """The metadata of a model's file: its grid, and the arguments of its `ViTEncoder` and `MAEDecoder`."""
    encoder, decoder = getattr(model, "encoder", model), getattr(model, "decoder", None)
    metadata = {GRID_KEY: "{}x{}".format(*encoder.grid)}
    for key, part, kind in ((ENCODER_KEY, encoder, ViTEncoder), (DECODER_KEY, decoder, MAEDecoder)):
        if type(part) is kind:
            config = part.get_config()
            own = {name: config[name] for name in own_arguments(kind)}
            metadata[key] = json.dumps(own, default=float, sort_keys=True)
    return metadata


def grid_of(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """The grid in metadata, such as 14x14; None without one."""
    text = metadata.get(GRID_KEY)
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2])) if match else None


def arguments_of(metadata: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    """The constructor arguments in metadata, which may come from others; None without any."""
    try:
        content = json.loads(metadata[key])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return as_arguments(content, ViTEncoder if key == ENCODER_KEY else MAEDecoder)


def as_arguments(content: Any, kind: type[keras.layers.Layer]) -> dict[str, Any] | None:
    """The own arguments of a class in a config, tuples as tuples; None if it is no dict."""
    if not isinstance(content, dict):
        return None
    known = own_arguments(kind)
    chosen = {name: value for name, value in content.items() if name in known}
    return {
        name: tuple(value) if name in _TUPLES and isinstance(value, list) else value for name, value in chosen.items()
    }
