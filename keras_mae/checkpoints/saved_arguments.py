"""The arguments of the model in a `.keras` file, without its weights."""

from __future__ import annotations

from typing import Any

from keras_mae.checkpoints.metadata import as_arguments
from keras_mae.decoders import MAEDecoder
from keras_mae.encoders import ViTEncoder
from keras_mae.encoders.presets import of_this_version
from keras_mae.models.saved_files import read_parts

_METHODS = {"MaskedAutoencoder": "mae", "SimMIM": "simmim"}


def arguments_of_keras_file(path: str) -> tuple[dict[str, Any], dict[str, Any] | None, str | None, bool]:
    """The arguments of its encoder and of its `MAEDecoder`, its method, and whether it is a classifier.

    Raises:
        ValueError: if the file is damaged, or its encoder is no `ViTEncoder`.
    """
    parts = [(name.removeprefix("keras_mae>"), arguments) for name, arguments in read_parts(path)]
    own, configs = parts[0][0], dict(reversed(parts))
    encoder = as_arguments(of_this_version(configs["ViTEncoder"]), ViTEncoder) if "ViTEncoder" in configs else None
    if encoder is None:
        raise ValueError(f"{path} holds a {own} and no ViTEncoder, whose arguments alone are known here")
    method = _METHODS.get(own)
    decoder = as_arguments(configs.get("MAEDecoder"), MAEDecoder) if method == "mae" else None
    return encoder, decoder, method, own == "ImageClassifier"
