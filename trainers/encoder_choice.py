"""The encoder of a classifier: from a run, from published weights, or of fresh ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from keras_mae.checkpoints.description import load_encoder as load_published
from keras_mae.data import Source, measure_stats
from keras_mae.encoders import Encoder, ViTEncoder
from keras_mae.encoders.presets import PRESETS
from keras_mae.models.saved_files import load_model_file
from keras_mae.trainers.classifier_config import ClassifierConfig
from keras_mae.trainers.dtype_choice import with_dtype
from keras_mae.trainers.first_weights import FirstWeights, TrainingT, channels_of, find_weights, with_statistics
from keras_mae.trainers.labelled_data import check_channels
from keras_mae.trainers.run import RunFolder, digest_of
from keras_mae.trainers.segment_config import SegmentConfig
from keras_mae.trainers.trained_model import find_model, is_ours
from keras_mae.trainers.training_parts import Weights

EncoderConfig = ClassifierConfig | SegmentConfig

_log = logging.getLogger("keras_mae")
_OWN = ("channels", "patch_size", "hidden_dim", "num_layers", "num_heads", "position_temperature", "mean", "std")
_OF_PRESET = ("patch_size", "hidden_dim", "num_layers", "num_heads")
_OF_IMAGES = ("channels", "mean", "std")  # published weights are adapted to these


def choose_encoder(config: EncoderConfig, drop_path_rate: float = 0.0) -> tuple[Encoder, dict[str, Any] | None]:
    """The encoder that a config names, in its dtype policy and for its image size.

    Returns:
        The encoder, and what `config.json` says of its weights, see `RunFolder.start`; None for fresh ones.

    Raises:
        ValueError: if there is none, or it differs from what the config says of it; all differences are listed.
    """
    own, config = config.encoder, with_dtype(config)
    trained = run_of(own)
    if trained is not None:
        return _from_run(config, trained, drop_path_rate), record_of(own)
    return (_from_scratch(config, drop_path_rate), None) if own.init is None else _published(config, drop_path_rate)


def run_of(own: Weights) -> str | None:
    """The run's folder, or the `.keras` file, that `run` or `init` names; None for other weights and fresh ones."""
    trained = getattr(own, "run", None)
    return own.init if trained is None and own.init is not None and is_ours(own.init) else trained


def record_of(own: Weights) -> dict[str, Any] | None:
    """What `config.json` says of a trained model's weights: the digest if it begins with `init`, and the licence."""
    source = run_of(own)
    if source is None:
        return None
    trained = find_model(source)
    if own.init is None:
        return None if trained.licence is None else {"source": source, "licence": trained.licence}
    return {"source": source, "format": "keras", "digest": digest_of(trained.path), "licence": trained.licence}


def _published(config: EncoderConfig, drop_path_rate: float) -> tuple[Encoder, dict[str, Any]]:
    own = config.encoder
    weights = find_weights(own)
    weights.say()
    said = weights.description
    missing = missing_arguments(own, weights, "type {}")
    _check_same(config, {**said.encoder, **missing}, weights.source, besides=_OF_IMAGES)
    arguments: dict[str, Any] = {"drop_path_rate": drop_path_rate, **missing}
    shape = said.encoder.get("image_shape", (224, 224, 3))  # of which the size is set, if it is not told
    image_shape = (*(own.image_size or shape[:2]), own.channels or shape[2])
    others = ("mean", "std", "position_temperature")
    arguments |= {name: getattr(own, name) for name in others if getattr(own, name) is not None}
    encoder, report = load_published(
        weights.path, said.format, own.init_prefix, image_shape, channels_of(own, image_shape[-1]),
        config.run.dtype_policy, **arguments,
    )  # fmt: skip
    return encoder, weights.record(report)


def published_encoder(
    own: Weights, weights: FirstWeights, source: Source | None = None
) -> tuple[Encoder, dict[str, Any]]:
    """The encoder of published weights as they are, and what `config.json` says of them.

    Args:
        own: the settings.
        weights: that `find_weights` has found for them.
        source: images whose mean and std it gets where the weights' own are not known; None if there are none.

    Raises:
        ValueError: as `choose_encoder`; or without images, if mean and std are not known.
    """
    said = weights.description.encoder
    channels, measured = said.get("image_shape", (224, 224, 3))[2], {}
    if source is not None:
        check_channels(source, channels)
    if channels != 3 and said.get("mean") is None:
        if source is None:
            raise ValueError(
                f"{weights.source} does not tell mean and std of its {channels} channels: make a .keras file that "
                "holds yours by keras-mae convert --set mean=... --set std=..., and name it with --run"
            )
        stats = measure_stats(source, channels)
        measured = {"mean": stats.mean, "std": stats.std}
        _log.info("mean %s and std %s, measured on %d images", stats.mean, stats.std, stats.num_images)
    weights.say()
    by_hand = "make a .keras file of it by keras-mae convert {}, and name that with --run"
    arguments = {**missing_arguments(own, weights, by_hand), **measured}
    encoder, report = load_published(weights.path, weights.description.format, own.init_prefix, **arguments)
    return encoder, weights.record(report, **measured)


def with_statistics_of(config: TrainingT, source: Source, folder: RunFolder, resume: bool) -> TrainingT:
    """The config with mean and std of the images, if its weights are published ones that are not known with theirs."""
    own = config.encoder
    if own.init is None or run_of(own) is not None:
        return config
    said = find_weights(own).description.encoder
    theirs = said.get("image_shape", (224, 224, 3))[2]
    channels = own.channels or theirs
    check_channels(source, channels, settable=True)
    stated = channels == theirs and said.get("mean") is not None
    known = source.dtype == "uint8" if channels == 3 else stated  # 16 bits are no photographs, as in pretraining
    return with_statistics(config, source, channels, folder, resume, known)


def missing_arguments(own: Any, weights: FirstWeights, remedy: str) -> dict[str, Any]:
    """The arguments of the encoder that its file does not tell, from the settings.

    Raises:
        ValueError: if some are not set either; `remedy` says how to give them, with a `{}` for the flags.
    """
    of_preset, found, lacking = PRESETS.get(getattr(own, "preset", None) or "", {}), {}, {}
    for name in weights.description.unknown:
        setting = "image_size" if name == "image_shape" else name
        value = getattr(own, setting, None) or of_preset.get(name if name in _OF_PRESET else "")
        if value is None and "." not in name:
            lacking[name] = f"--set {setting}=..."
        elif name in _OF_PRESET:
            found[name] = value
    if lacking:
        flags = remedy.format(" ".join(lacking.values()))
        raise ValueError(f"{weights.source} does not tell {' and '.join(lacking)} of its model: {flags}")
    return found


def _from_run(config: EncoderConfig, trained: str, drop_path_rate: float) -> Encoder:
    source = load_encoder(trained)
    found = {name: getattr(source, name, None) for name in (*_OF_PRESET, "position_temperature")}
    pixels = source.normalize_pixels
    found |= {"channels": source.image_shape[-1], "mean": pixels.mean, "std": pixels.std}
    _check_same(config, found, trained)
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


def _from_scratch(config: EncoderConfig, drop_path_rate: float) -> Encoder:
    own = config.encoder
    if own.preset is None:
        raise ValueError(
            "there is no encoder: name one with --run, or its sizes to start from fresh weights, with "
            f"--set preset=..., --set image_size=..., ...; the presets are {', '.join(PRESETS)}"
        )
    dtype = config.run.dtype_policy
    return ViTEncoder.from_preset(own.preset, **own.arguments(), drop_path_rate=drop_path_rate, dtype=dtype)


def _check_same(config: EncoderConfig, found: Mapping[str, Any], source: str, besides: tuple[str, ...] = ()) -> None:
    """Refuses an encoder that differs from the config or from its preset, but in the settings `besides`."""
    asked = {name: getattr(config.encoder, name) for name in _OWN}
    if config.encoder.preset is not None:
        preset = PRESETS[config.encoder.preset]
        of_preset = {**preset, "patch_size": (preset["patch_size"],) * 2}
        asked |= {name: of_preset[name] for name in _OF_PRESET if asked[name] is None}
    differing = [
        f"{name}: {found[name]!r} there, {asked[name]!r} asked for"
        for name in _OWN
        if name in found and name not in besides and asked[name] is not None and asked[name] != found[name]
    ]
    if differing:
        raise ValueError(
            f"the encoder in {source} is another than the recipe's: {'; '.join(differing)}. Take a "
            "recipe for it, such as the program's ..._small_images, which takes any encoder, or --set each of these to "
            "None for the run's own (and preset=None)"
        )
