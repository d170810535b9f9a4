"""What a run's model and the file of weights that it begins with have in common, and what not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_mae.checkpoints.decoder_target import NORMALISED, PLAIN
from keras_mae.checkpoints.description import Description
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.registry import listed
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.settings import kind_of

# What of an encoder is a run's own, and contradicts no file
_FREE = (
    *("image_shape", "image_size", "channels", "mean", "std", "position_embedding", "position_temperature"),
    *("drop_path_rate", "preset", "name", "dtype", "trainable"),
)


def plain(value: Any) -> Any:
    """A tuple for a list, as JSON knows no tuples."""
    return tuple(value) if isinstance(value, list) else value


def check_same(model: MaskedImageModel, source: str, description: Description) -> None:
    """Refuses an encoder that is another than the file's."""
    here = model.encoder.get_config()
    unknown = [name for name in description.encoder if name not in here]
    if unknown:
        raise ValueError(f"the encoder in {source} is no {type(model.encoder).__name__}: it has {listed(unknown)}")
    refuse_others(here, source, description)


def refuse_others(here: Mapping[str, Any], source: str, description: Description) -> None:
    """Refuses arguments of an encoder that contradict the file, but for those that are a run's own."""
    there = description.encoder
    differing = [
        f"{name} is {there[name]!r} there, and {here[name]!r} here"
        for name in there
        if name in here and name not in _FREE and not _alike(name, there[name], here[name])
    ]
    if differing:
        raise ValueError(
            f"the encoder in {source} is another than this run's: {'; '.join(differing)}; leave these settings "
            "out, as the file tells them, or begin without --init"
        )


def _alike(name: str, one: Any, other: Any) -> bool:
    if name == "layer_scale":  # the file has the gains themselves
        return (one is None) == (other is None)
    if name == "patch_size":
        one, other = ((size, size) if isinstance(size, int) else tuple(size) for size in (one, other))
    return bool(plain(one) == plain(other))


def target_here(model: MaskedImageModel) -> str:
    """What the run's decoder predicts, if that is pixels."""
    return NORMALISED if getattr(model.target, "normalize", False) else PLAIN


def why_fresh(
    model: MaskedImageModel, config: PretrainConfig, description: Description, target: str | None
) -> str | None:
    """Why the run's decoder cannot be the file's; None if it is."""
    method = kind_of(config, "method")
    if description.method is None:
        return "the file has none"
    if description.method != method:
        return f"the file's is one of {description.method}, and the method is {method}"
    if method == "mae" and type(model.decoder).__name__ != description.decoder_class:
        return f"the file's is of the kind {description.decoder_class or 'that is its own'}"
    if getattr(config.method, "mask_tokens_in_encoder", False):
        return "the encoder sees the mask tokens"
    channels = description.encoder.get("image_shape", model.encoder.image_shape)[-1]
    if channels != model.encoder.image_shape[-1]:
        return f"the file's predicts {channels} channels"
    if not model.target.has_pixels or model.target.dim != model.encoder.geometry.values_per_patch:
        only = ", and only a decoder of pixels goes on" if target == type(model.target).__name__ else ""
        return f"the file's predicts {target or 'pixels'}{only}"
    if target not in (None, target_here(model)):
        return f"the file's predicts {target}, and this run {target_here(model)} (normalize_target)"
    here = model.decoder.get_config() if description.decoder else {}
    differing = [
        f"{name} {value}"
        for name, value in (description.decoder or {}).items()
        if name not in (*_FREE, "layer_norm_epsilon") and here.get(name) != value
    ]
    return f"the file's has {listed(differing)}" if differing else None
