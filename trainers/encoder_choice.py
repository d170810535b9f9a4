"""The encoder of a classifier: from a run, from a file, or of fresh weights."""

from __future__ import annotations

import logging

from keras_mae.encoders import Encoder, ViTEncoder
from keras_mae.encoders.presets import PRESETS
from keras_mae.models.saved_files import load_model_file
from keras_mae.trainers.classifier_config import ClassifierConfig
from keras_mae.trainers.trained_model import find_model

_log = logging.getLogger("keras_mae")
_OWN = ("channels", "patch_size", "hidden_dim", "num_layers", "num_heads", "position_temperature", "mean", "std")
_OF_PRESET = ("patch_size", "hidden_dim", "num_layers", "num_heads")


def choose_encoder(config: ClassifierConfig, drop_path_rate: float = 0.0) -> Encoder:
    """The encoder that a config names, in its dtype policy and for its image size.

    Raises:
        ValueError: if there is none, or it differs from what the config says of it; all differences are listed.
    """
    if config.encoder.run is None:
        return _from_scratch(config, drop_path_rate)
    source = load_encoder(config.encoder.run)
    _check_same(config, source)
    settings = {**source.get_config(), "dtype": config.run.dtype_policy}
    if "drop_path_rate" in settings:
        settings["drop_path_rate"] = drop_path_rate
    elif drop_path_rate:
        _log.warning("a %s has no drop path: drop_path_rate=%s is left out", type(source).__name__, drop_path_rate)
    encoder = type(source).from_config(settings)
    encoder.set_weights(source.get_weights())
    image_shape = (*(config.encoder.image_size or source.image_shape[:2]), source.image_shape[-1])
    return encoder if image_shape == source.image_shape else encoder.with_image_shape(image_shape)


def load_encoder(path: str) -> Encoder:
    """The encoder in a run's folder, or in a `.keras` file of an encoder, an autoencoder or a classifier.

    Raises:
        ValueError: if there is none.
    """
    file = find_model(path).path
    model = load_model_file(file)
    encoder = getattr(model, "encoder", model)
    if not isinstance(encoder, Encoder):
        raise ValueError(f"{file} holds {type(model).__name__}, which has no encoder")
    return encoder


def _from_scratch(config: ClassifierConfig, drop_path_rate: float) -> Encoder:
    own = config.encoder
    if own.preset is None:
        raise ValueError(
            "there is no encoder: name one with --run, or its sizes to start from fresh weights, with "
            f"--set preset=..., --set image_size=..., ...; the presets are {', '.join(PRESETS)}"
        )
    dtype = config.run.dtype_policy
    return ViTEncoder.from_preset(own.preset, **own.arguments(), drop_path_rate=drop_path_rate, dtype=dtype)


def _check_same(config: ClassifierConfig, encoder: Encoder) -> None:
    """Refuses an encoder that differs from the config or from its preset."""
    asked = {name: getattr(config.encoder, name) for name in _OWN}
    if config.encoder.preset is not None:
        preset = PRESETS[config.encoder.preset]
        of_preset = {**preset, "patch_size": (preset["patch_size"],) * 2}
        asked |= {name: of_preset[name] for name in _OF_PRESET if asked[name] is None}
    found = {name: getattr(encoder, name, None) for name in (*_OF_PRESET, "position_temperature")}
    found["channels"] = encoder.image_shape[-1]
    found["mean"], found["std"] = encoder.normalize_pixels.mean, encoder.normalize_pixels.std
    differing = [
        f"{name}: {found[name]!r} there, {asked[name]!r} asked for"
        for name in _OWN
        if asked[name] is not None and asked[name] != found[name]
    ]
    if differing:
        raise ValueError(
            f"the encoder in {config.encoder.run} is another than the recipe's: {'; '.join(differing)}. Take a "
            "recipe for it, or --set each of these to None for the run's own (and preset=None)"
        )
