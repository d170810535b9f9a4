"""What a `config.json` beside a file of weights says of its model: Hugging Face's, or timm's."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

_SAME_ACTIVATIONS = ("gelu", "gelu_python")  # both by the error function
_SQUARE_TABLES = ("dinov2", "dinov2_with_registers", "pixio")  # Hugging Face's classes resize others
_SAME_GATED = ("silu", "swish")
# parts of timm's names of models that compute something else from tensors of the same names
_OTHER_KINDS = {
    "quickgelu": "MLPs with 'quick_gelu', and those here have 'gelu'",
    "siglip": "MLPs with 'gelu_tanh', and those here have 'gelu'",
    "eva02_enormous": "norms after attention and MLPs, and those here come before",
    "eva02_": "rotary positions beside absolute ones, of another kind than those here",
    "patch16_rpn": "norms after attention and MLPs, and those here come before",
}
# our arguments by Hugging Face's names
_NAMES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "hidden_dim": ("hidden_size", int),
    "num_layers": ("num_hidden_layers", int),
    "num_heads": ("num_attention_heads", int),
    "layer_norm_epsilon": ("layer_norm_eps", float),
}


@dataclasses.dataclass(frozen=True)
class Beside:
    """What the configs in a folder say.

    Attributes:
        name: the model's type or architecture, None without a config of Hugging Face or timm.
        encoder: arguments of `ViTEncoder`.
        decoder: arguments of `MAEDecoder`.
        refusal: what the model has that no model here has, or "".
        normalize_target: whether a decoder predicts the pixels of each patch normalised, None if that is not stated.
        activation: timm's `act_layer` of the MLPs, if the config states it.
    """

    name: str | None = None
    encoder: dict[str, Any] = dataclasses.field(default_factory=dict)
    decoder: dict[str, Any] = dataclasses.field(default_factory=dict)
    refusal: str = ""
    normalize_target: bool | None = None
    activation: str | None = None

    @property
    def grid(self) -> tuple[int, int] | None:
        """The (rows, columns) of patches, if the config states them."""
        image, patch = self.encoder.get("image_shape"), self.encoder.get("patch_size")
        if not image or not patch or min(*image, *patch) < 1:
            return None
        return image[0] // patch[0], image[1] // patch[1]


def read_config(path: str) -> Beside:
    """What the configs beside a file say; nothing where there are none, or they are damaged or another program's."""
    folder = os.path.dirname(os.path.abspath(path))
    config = _json(os.path.join(folder, "config.json"))
    try:
        if isinstance(config.get("model_type"), str):
            return _of_hugging_face(config, _json(os.path.join(folder, "preprocessor_config.json")))
        if isinstance(config.get("architecture"), str):
            return _of_timm(config)
    except (TypeError, ValueError, KeyError, ZeroDivisionError, AttributeError, IndexError):
        pass  # the config is optional
    return Beside()


def config_for(path: str, hidden_dim: int, is_gated: bool) -> Beside:
    """As `read_config`, for a model of this width; nothing if the config is of another file in the folder.

    Args:
        path: the file.
        hidden_dim: the width of its model.
        is_gated: whether its MLPs are gated.

    Raises:
        ValueError: if the model has what no model here has, with what that is.
    """
    beside = read_config(path)
    if beside.encoder.get("hidden_dim", hidden_dim) != hidden_dim:
        return Beside()
    refusal = beside.refusal or _other_activation(beside.activation, is_gated)
    if refusal:
        raise ValueError(
            f"{path} is of a model that has {refusal}, by the config beside it ({beside.name}): here it would "
            "compute something else, so take another checkpoint"
        )
    return beside


def _json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _pair(size: Any) -> tuple[int, int]:
    """Height and width of a size in Hugging Face's form: a number, or two."""
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return int(height), int(width)


def _of_hugging_face(config: dict[str, Any], images: dict[str, Any]) -> Beside:
    encoder = {ours: kind(config[theirs]) for ours, (theirs, kind) in _NAMES.items() if theirs in config}
    if "rope_theta" in config:
        encoder["rotary_temperature"] = float(config["rope_theta"])
    if "image_size" in config and "patch_size" in config:
        encoder["patch_size"] = _pair(config["patch_size"])
        encoder["image_shape"] = (*_pair(config["image_size"]), int(config.get("num_channels", 3)))
    if len(images.get("image_mean") or ()) == len(images.get("image_std") or (None,)):
        encoder |= {"mean": tuple(map(float, images["image_mean"])), "std": tuple(map(float, images["image_std"]))}
    of_decoder: dict[str, tuple[str, Callable[[Any], Any]]] = {**_NAMES, "mlp_dim": ("intermediate_size", int)}
    decoder = {
        ours: kind(config[f"decoder_{theirs}"])
        for ours, (theirs, kind) in of_decoder.items()
        if f"decoder_{theirs}" in config
    }
    if decoder and "layer_norm_epsilon" in encoder:
        decoder["layer_norm_epsilon"] = encoder["layer_norm_epsilon"]
    normalised = config.get("norm_pix_loss")
    target = normalised if isinstance(normalised, bool) else None
    # use_swiglu_ffn is SwiGLU, whatever the config says of activations
    act = None if config.get("use_swiglu_ffn") else config.get("hidden_act", "gelu")
    refusal = _other_activation(act, bool(config.get("use_gated_mlp")))
    height, width = encoder.get("image_shape", (0, 0))[:2]
    if height != width and config["model_type"] in _SQUARE_TABLES:
        refusal = refusal or f"positions of images of {height} x {width}, which its class resizes as those of a square"
    return Beside(config["model_type"], encoder, decoder, refusal, target)


def _other_activation(act: Any, is_gated: bool) -> str:
    """What MLPs with an activation are, if those here have another one; "" if not, or if it is None."""
    allowed = _SAME_GATED if is_gated else _SAME_ACTIVATIONS
    kind = "gated MLPs" if is_gated else "MLPs"
    return "" if act is None or act in allowed else f"{kind} with {act!r}, and those here have {allowed[0]!r}"


def _of_timm(config: dict[str, Any]) -> Beside:
    name, own = config["architecture"], config.get("model_args") or {}
    pretrained = config.get("pretrained_cfg") or {}
    encoder: dict[str, Any] = {}
    if "num_heads" in own:
        encoder["num_heads"] = int(own["num_heads"])
    size = pretrained.get("input_size")
    if size:
        height, width = _pair(own.get("img_size", size[1:]))
        encoder["image_shape"] = (height, width, int(own.get("in_chans", size[0])))
    if pretrained.get("mean") and pretrained.get("std"):
        encoder |= {"mean": tuple(map(float, pretrained["mean"])), "std": tuple(map(float, pretrained["std"]))}
    refusal = next((what for part, what in _OTHER_KINDS.items() if part in name), "")
    return Beside(name, encoder, refusal=refusal, activation=own.get("act_layer"))
