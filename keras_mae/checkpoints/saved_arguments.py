"""The arguments of the model in a `.keras` file, without its weights."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras_mae.checkpoints.metadata import as_arguments
from keras_mae.decoders import CrossDecoder, MAEDecoder
from keras_mae.encoders import ViTEncoder
from keras_mae.encoders.presets import of_this_version
from keras_mae.models.saved_files import read_parts

_METHODS = {"MaskedAutoencoder": "mae", "SimMIM": "simmim"}
_DECODERS = (MAEDecoder, CrossDecoder)


class SavedArguments(NamedTuple):
    """What a `.keras` file says of its model.

    Attributes:
        encoder: the arguments of its `ViTEncoder`.
        decoder: the arguments of its decoder, or None.
        decoder_class: the name of that decoder's class, or None for another one.
        method: "mae", "simmim", or None.
        is_classifier: whether it is an `ImageClassifier`.
    """

    encoder: dict[str, Any]
    decoder: dict[str, Any] | None
    decoder_class: str | None
    method: str | None
    is_classifier: bool


def arguments_of_keras_file(path: str) -> SavedArguments:
    """The arguments of the parts of a saved model.

    Raises:
        ValueError: if the file is damaged, or its encoder is no `ViTEncoder`.
    """
    parts = [(name.removeprefix("keras_mae>"), arguments) for name, arguments in read_parts(path)]
    own, configs = parts[0][0], dict(reversed(parts))
    encoder = as_arguments(of_this_version(configs["ViTEncoder"]), ViTEncoder) if "ViTEncoder" in configs else None
    if encoder is None:
        raise ValueError(f"{path} holds a {own} and no ViTEncoder, whose arguments alone are known here")
    method = _METHODS.get(own)
    kind = next((kind for kind in _DECODERS if kind.__name__ in configs), None) if method == "mae" else None
    decoder = None if kind is None else as_arguments(configs[kind.__name__], kind)
    return SavedArguments(encoder, decoder, kind and kind.__name__, method, own == "ImageClassifier")
