"""KerasHub's Vision Transformers to our encoder, and back."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import keras
import numpy as np

from keras_mae.encoders import ViTEncoder

_log = logging.getLogger("keras_mae")
# KerasHub's variables that hold one of ours, side by side along its last axis; None: KerasHub leaves out a bias
Pieces = tuple[keras.Variable | None, ...]


def from_keras_hub(backbone: Any, **arguments: Any) -> ViTEncoder:
    """An encoder with the weights of KerasHub's `ViTBackbone`, `DINOV2Backbone` or `DINOV3Backbone`.

    Those take normalised pixels; ours takes levels in [0, 255] and normalises them by the mean and standard deviation
    of the preset's image converter. A backbone alone does not state them, and gets ImageNet's.

    Args:
        backbone: the backbone, or a preset by its name or folder, as KerasHub's `from_preset` takes it.
        **arguments: arguments of `ViTEncoder` beside the backbone's: `mean`, `std`, `drop_path_rate`, `dtype`, `name`.

    Returns:
        The encoder; its `cls_token` and `patch_tokens` are rows of the backbone's output.

    Raises:
        ValueError: if keras-hub is not installed, there is no such preset, or the backbone is of another kind.

    Example:

    >>> encoder = keras_mae.checkpoints.from_keras_hub("dinov2_base")
    """
    if isinstance(backbone, (str, os.PathLike)):
        preset = os.fspath(backbone)
        backbone, pixels = _open_preset(preset)
        arguments = {**pixels, **arguments}
    kind = type(backbone).__name__
    if kind not in _ARGUMENTS:
        raise ValueError(f"an encoder is made of one of KerasHub's {', '.join(_ARGUMENTS)}; got a {kind}")
    if getattr(backbone, "data_format", "channels_last") != "channels_last" or None in backbone.image_shape:
        raise ValueError(
            f"the {kind} has images of {backbone.image_shape}; build it with image_shape=(height, width, channels), "
            "all of them known, and channels last"
        )
    for name in ("dropout_rate", "attention_dropout"):
        if getattr(backbone, name, 0):
            _log.warning("%s=%s of the %s is left out", name, getattr(backbone, name), kind)
    sizes = {name: getattr(backbone, name) for name in _SIZES}
    encoder = ViTEncoder(**{**sizes, **_ARGUMENTS[kind](backbone), **arguments})
    held = dict(_weights(backbone))
    for slot in encoder.slots():
        shape = (*slot.variable.shape[:-1], slot.variable.shape[-1] // len(held[slot.name]))
        values = [np.zeros(shape) if piece is None else _array(piece).reshape(shape) for piece in held[slot.name]]
        slot.variable.assign(np.concatenate(values, axis=-1))
    return encoder


def to_keras_hub(encoder: ViTEncoder) -> Any:
    """A backbone of KerasHub that computes what an encoder does.

    It takes normalised pixels, `(levels / 255 - mean) / std` with the encoder's `mean` and `std`, and returns prefix
    and patch tokens as one sequence, `(B, P + L, D)`. `backbone.save_to_preset(folder)` writes it to a disk.

    Args:
        encoder: a `ViTEncoder`. With rotary positions it becomes a `DINOV3Backbone`; with LayerScale, registers or
            gated MLPs a `DINOV2Backbone`; else a `ViTBackbone`.

    Raises:
        ValueError: if keras-hub is not installed, or has no backbone that computes what the encoder does.
    """
    kind = "ViTBackbone"
    if encoder.rotary_temperature is not None:
        kind = "DINOV3Backbone"
    elif encoder.layer_scale is not None or encoder.num_registers or encoder.gated_mlp:
        kind = "DINOV2Backbone"
    arguments = _keras_hub_arguments(encoder, kind)
    backbone = getattr(_library().models, kind)(**arguments, dtype=encoder.dtype_policy)
    ours = {slot.name: slot.value for slot in encoder.slots()}
    written = set()
    for name, pieces in _weights(backbone):
        shapes = [piece.shape for piece in pieces if piece is not None]
        value = ours.pop(name, None)
        if name == "encoder.positions.table" and value is not None:
            lacking = int(np.prod(shapes[0][:-1])) - len(value)  # zeros for a class token without a position
            value = np.concatenate([np.zeros((lacking, value.shape[1]), value.dtype), value])
        if value is None:  # gains that the encoder does not have, or biases
            value = np.full(sum(int(np.prod(shape)) for shape in shapes), float(name.endswith("_scale.gamma")))
        for piece, part in zip(pieces, np.split(value, len(pieces), axis=-1), strict=True):
            if piece is not None:
                piece.assign(part.reshape(piece.shape))
                written.add(id(piece))
    if kind == "DINOV2Backbone":  # it saves another table than the one that it computes with
        saved = backbone.embeddings.position_embeddings
        saved.assign(backbone.embeddings.interpolated_position_embeddings)
        written.add(id(saved))
    unknown = [v.path for v in backbone.weights if id(v) not in written and not v.path.endswith("mask_token")]
    if ours or unknown:
        raise ValueError(f"the installed keras-hub differs from the known one, 0.32, in {[*ours, *unknown]}")
    return backbone


_SIZES = ("image_shape", "patch_size", "hidden_dim", "num_layers", "num_heads")


def _vit(backbone: Any) -> dict[str, Any]:
    return {
        "mlp_dim": backbone.mlp_dim,
        "num_cls_tokens": int(backbone.use_class_token),
        "position_embedding": "learned",
        "qkv_bias": backbone.use_mha_bias,
        "layer_norm_epsilon": backbone.layer_norm_epsilon,
    }


def _dinov2(backbone: Any) -> dict[str, Any]:
    mlp = backbone.encoder.layers[0].mlp
    return {
        "mlp_dim": mlp.actual_intermediate_dim if backbone.use_swiglu_ffn else mlp.intermediate_dim,
        "num_registers": backbone.num_register_tokens,
        "num_prefix_positions": 1,
        "position_embedding": "learned",
        "gated_mlp": backbone.use_swiglu_ffn,
        "layer_scale": backbone.layer_scale_init_value,
        "layer_norm_epsilon": 1e-6,
    }


def _dinov3(backbone: Any) -> dict[str, Any]:
    expected = ("silu", "swish") if backbone.use_gated_mlp else ("gelu",)
    if backbone.hidden_activation not in expected:
        gated = "gated" if backbone.use_gated_mlp else "plain"
        raise ValueError(
            f"a {gated} MLP here has the activation {expected[0]!r}; the DINOV3Backbone's is "
            f"{backbone.hidden_activation!r}, which no encoder here computes"
        )
    return {
        "mlp_dim": backbone.intermediate_dim,
        "num_registers": backbone.num_register_tokens,
        "position_embedding": None,
        "rotary_temperature": float(backbone.rope_theta),
        "qkv_bias": backbone.use_query_bias or backbone.use_key_bias or backbone.use_value_bias,
        "key_bias": backbone.use_key_bias,
        "gated_mlp": backbone.use_gated_mlp,
        "layer_scale": backbone.layer_scale_init_value,
        "layer_norm_epsilon": backbone.layer_norm_eps,
    }


_ARGUMENTS = {"ViTBackbone": _vit, "DINOV2Backbone": _dinov2, "DINOV3Backbone": _dinov3}


def _keras_hub_arguments(encoder: ViTEncoder, kind: str) -> dict[str, Any]:
    """The arguments of KerasHub's class; a ValueError if it does not compute what the encoder does."""
    (rows, columns), epsilon = encoder.patch_size, encoder.layer_norm_epsilon
    height, width, _ = encoder.image_shape
    of_class = int(encoder.position_embedding is not None)
    rules = {
        "relative positions": encoder.relative_position_bias is not None,
        "norms of queries and keys": encoder.qk_norm,
        "a norm before the first block": encoder.pre_norm,
        f"{encoder.num_cls_tokens} class tokens": encoder.num_cls_tokens > 1,
    }
    if kind != "DINOV3Backbone":
        rules["no absolute positions"] = encoder.position_embedding is None
        rules["positions of register tokens"] = encoder.num_prefix_positions > of_class
    else:
        rules["absolute positions"] = encoder.position_embedding is not None
    if kind != "ViTBackbone":
        rules["no class token"] = encoder.num_cls_tokens == 0
        rules["patches that are not square"] = rows != columns
    if kind == "DINOV2Backbone":
        rules["images that are not square"] = height != width
        rules[f"layer_norm_epsilon={epsilon} (1e-6 there)"] = epsilon != 1e-6
        rules[f"mlp_dim={encoder.mlp_dim} (a multiple of 8 there)"] = encoder.gated_mlp and encoder.mlp_dim % 8 != 0
    found = [what for what, is_so in rules.items() if is_so]
    if found:
        raise ValueError(
            f"KerasHub's {kind}, the nearest, cannot hold this encoder, which has {', '.join(found)}: save it in "
            "another format, such as 'timm' or 'keras'"
        )
    sizes = {name: getattr(encoder, name) for name in _SIZES}
    own: dict[str, Any]
    if kind == "ViTBackbone":
        has_class_token = encoder.num_cls_tokens == 1
        own = {"mlp_dim": encoder.mlp_dim, "layer_norm_epsilon": epsilon, "use_class_token": has_class_token}
        return {**sizes, **own}
    own = {"patch_size": rows, "num_register_tokens": encoder.num_registers, "intermediate_dim": encoder.mlp_dim}
    own["layer_scale_init_value"] = 1.0 if encoder.layer_scale is None else encoder.layer_scale
    if kind == "DINOV2Backbone":
        own |= {"use_swiglu_ffn": encoder.gated_mlp, "position_embedding_shape": encoder.image_shape}
        if encoder.gated_mlp:  # KerasHub takes two thirds of it
            own["intermediate_dim"] = encoder.mlp_dim * 3 // 2
        return {**sizes, **own}
    own |= {"rope_theta": encoder.rotary_temperature, "layer_norm_eps": epsilon, "use_gated_mlp": encoder.gated_mlp}
    own |= {"use_query_bias": encoder.qkv_bias, "use_value_bias": encoder.qkv_bias}
    own |= {"use_key_bias": encoder.qkv_bias and encoder.key_bias}
    own["hidden_activation"] = "silu" if encoder.gated_mlp else "gelu"
    return {**sizes, **own}


def _weights(backbone: Any) -> Iterator[tuple[str, Pieces]]:
    """Our name of each weight, and the variables that hold it; all of them in our order, but for a change of shape."""
    if type(backbone).__name__ == "ViTBackbone":
        stem, encoder = backbone.get_layer("vit_patching_and_embedding"), backbone.get_layer("vit_encoder")
        if backbone.use_class_token:
            yield "encoder.cls_token", (stem.class_token,)
        yield "encoder.positions.table", (stem.position_embedding.embeddings,)
        yield from _linear("encoder.patch_projection", stem.patch_embedding)
        for index, block in enumerate(encoder.encoder_layers):
            parts = (block.layer_norm_1, block.mha, block.layer_norm_2, block.mlp.dense_1, block.mlp.dense_2)
            yield from _block(f"encoder.blocks.{index}", *parts)
        yield from _norm("encoder.norm", encoder.layer_norm)
        return
    stem = backbone.embeddings
    yield "encoder.cls_token", (stem.cls_token,)
    if stem.num_register_tokens:
        yield "encoder.registers", (stem.register_tokens,)
    if hasattr(stem, "interpolated_position_embeddings"):
        yield "encoder.positions.table", (stem.interpolated_position_embeddings,)
    yield from _linear("encoder.patch_projection", stem.patch_embeddings.projection)
    for index, block in enumerate(backbone.encoder.layers):
        name, mlp = f"encoder.blocks.{index}", block.mlp
        attention = getattr(block.attention, "attention", block.attention)
        if hasattr(mlp, "weights_in"):
            hidden, output = (mlp.weights_in,), mlp.weights_out
        elif hasattr(mlp, "fc1"):
            hidden, output = (mlp.fc1,), mlp.fc2
        else:
            gate = (mlp.gate_proj,) if hasattr(mlp, "gate_proj") else ()
            hidden, output = (*gate, mlp.up_proj), mlp.down_proj
        yield from _block(name, block.norm1, attention, block.norm2, hidden, output)
        yield f"{name}.attention_scale.gamma", (block.layer_scale1.lambda1,)
        yield f"{name}.mlp_scale.gamma", (block.layer_scale2.lambda1,)
    yield from _norm("encoder.norm", backbone.layernorm)


def _block(name: str, norm1: Any, attention: Any, norm2: Any, hidden: Any, output: Any) -> Iterator[tuple[str, Pieces]]:
    yield from _norm(f"{name}.norm1", norm1)
    qkv = (attention.query_dense, attention.key_dense, attention.value_dense)
    yield from _linear(f"{name}.attention.qkv", *qkv)
    yield from _linear(f"{name}.attention.projection", attention.output_dense)
    yield from _norm(f"{name}.norm2", norm2)
    yield from _linear(f"{name}.mlp_hidden", *(hidden if isinstance(hidden, tuple) else (hidden,)))
    yield from _linear(f"{name}.mlp_output", output)


def _linear(name: str, *layers: Any) -> Iterator[tuple[str, Pieces]]:
    yield f"{name}.kernel", tuple(layer.kernel for layer in layers)
    yield f"{name}.bias", tuple(layer.bias for layer in layers)


def _norm(name: str, layer: Any) -> Iterator[tuple[str, Pieces]]:
    yield f"{name}.gamma", (layer.gamma,)
    yield f"{name}.beta", (layer.beta,)


def _array(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))


def _open_preset(preset: str) -> tuple[Any, dict[str, Any]]:
    """The backbone of a preset, and its mean and standard deviation of the pixels as arguments of `ViTEncoder`."""
    library = _library()
    try:
        backbone = library.models.Backbone.from_preset(preset)
    except Exception as error:  # of any kind: it may download, and make any class
        raise ValueError(f"KerasHub cannot open the preset {preset}: {error}") from error
    try:
        converter = library.layers.ImageConverter.from_preset(preset)
    except Exception:  # a folder that `backbone.save_to_preset` has written has none
        _log.info("%s has no image converter: mean and std of the pixels are the defaults", preset)
        return backbone, {}
    channels = backbone.image_shape[-1]
    scale, offset = (
        np.broadcast_to(default if value is None else value, channels).astype("float64")
        for value, default in ((converter.scale, 1.0), (converter.offset, 0.0))
    )
    return backbone, {"mean": tuple(-offset / scale / 255), "std": tuple(1 / scale / 255)}


def _library() -> ModuleType:
    try:
        import keras_hub
    except ImportError as error:
        raise ValueError("KerasHub's models need keras-hub: pip install 'keras-mae[keras-hub]'") from error
    return keras_hub
