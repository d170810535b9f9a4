"""The `config.json` with which timm makes a model like one of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_mae.encoders import Encoder, ViTEncoder
from keras_mae.models import ImageClassifier

# Names of timm's architectures that have what JSON cannot say: the class, LayerNorm's epsilon, a gated MLP. Every size
# is replaced by ours.
_PLAIN, _EPSILON_1E_5 = "vit_base_patch16_224", "vit_base_patch16_clip_224"
_GATED, _ROTARY = "vit_giant_patch14_dinov2", "vit_base_patch16_dinov3"


def timm_config(
    model: Encoder | ImageClassifier, class_names: Sequence[str] = (), crop_ratio: float = 0.875
) -> dict[str, Any] | None:
    """The `config.json` of a model in timm's form; None if none of timm's classes can be this model.

    Args:
        model: an encoder, or a classifier.
        class_names: of a classifier; empty for numbers.
        crop_ratio: of the evaluation transform.
    """
    encoder: Any = getattr(model, "encoder", model)
    if getattr(encoder, "num_registers", None) is None or encoder.relative_position_bias or encoder.num_cls_tokens > 1:
        return None
    is_classifier = isinstance(model, ImageClassifier)
    pooling = model.pooling if isinstance(model, ImageClassifier) else "cls" if encoder.num_cls_tokens else "mean"
    if pooling not in ("mean", "cls") or (pooling == "cls" and not encoder.num_cls_tokens):
        return None
    kind = _vision_transformer(encoder) if encoder.rotary_temperature is None else _eva(encoder, is_classifier)
    if kind is None:
        return None
    architecture, own = kind
    height, width, channels = encoder.image_shape
    global_pool, num_classes = "token" if pooling == "cls" else "avg", model.num_classes if is_classifier else 0
    arguments = {
        "img_size": [height, width],
        "patch_size": list(encoder.patch_size),
        "in_chans": channels,
        "embed_dim": encoder.hidden_dim,
        "depth": encoder.num_layers,
        "num_heads": encoder.num_heads,
        "qkv_bias": encoder.qkv_bias,
        "class_token": bool(encoder.num_cls_tokens),
        "global_pool": global_pool,
        **({} if encoder.layer_scale is None else {"init_values": encoder.layer_scale}),
        **own,
    }
    if encoder.rotary_temperature is None:
        arguments["fc_norm"] = is_classifier and pooling == "mean"
    pixels = encoder.normalize_pixels
    return {
        "architecture": architecture,
        "num_classes": num_classes,
        "num_features": encoder.hidden_dim,
        "global_pool": global_pool,
        **({"label_names": list(class_names)} if class_names and is_classifier else {}),
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": "keras_mae",
            "custom_load": False,
            "input_size": [channels, height, width],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": crop_ratio,
            "crop_mode": "center",
            "mean": list(pixels.mean),
            "std": list(pixels.std),
            "num_classes": num_classes,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def _vision_transformer(encoder: ViTEncoder) -> tuple[str, dict[str, Any]] | None:
    """The architecture and its own arguments among timm's `VisionTransformer`s."""
    positions = encoder.num_cls_tokens if encoder.num_prefix_positions is None else encoder.num_prefix_positions
    if not encoder.key_bias or (encoder.position_embedding and positions not in (0, encoder.num_prefix_tokens)):
        return None
    if encoder.gated_mlp:
        architecture = _GATED
        if encoder.layer_scale is None:  # this architecture has gains, and timm takes None for no change
            return None
    else:
        architecture = _EPSILON_1E_5 if encoder.layer_norm_epsilon == 1e-5 else _PLAIN
    if encoder.layer_norm_epsilon != (1e-5 if architecture == _EPSILON_1E_5 else 1e-6):
        return None
    width = (2 if encoder.gated_mlp else 1) * encoder.mlp_dim
    return architecture, {
        "mlp_ratio": _ratio(width, encoder.hidden_dim),
        "qk_norm": encoder.qk_norm,
        "pre_norm": encoder.pre_norm,
        "pos_embed": "learn" if encoder.position_embedding else "none",
        "reg_tokens": encoder.num_registers,
        "no_embed_class": bool(encoder.position_embedding and encoder.num_prefix_tokens and not positions),
    }


def _eva(encoder: ViTEncoder, is_classifier: bool) -> tuple[str, dict[str, Any]] | None:
    """The architecture and its own arguments for rotary positions: timm's `Eva`."""
    fits = encoder.position_embedding is None and encoder.num_cls_tokens == 1 and encoder.layer_scale is not None
    biases = not (encoder.qkv_bias and encoder.key_bias)
    if not fits or not biases or encoder.qk_norm or encoder.pre_norm or encoder.layer_norm_epsilon != 1e-5:
        return None
    if is_classifier:  # its norm stands elsewhere
        return None
    return _ROTARY, {
        "mlp_ratio": _ratio(encoder.mlp_dim, encoder.hidden_dim),
        "num_reg_tokens": encoder.num_registers,
        "rope_temperature": encoder.rotary_temperature,
        **({"swiglu_mlp": True, "swiglu_align_to": 1} if encoder.gated_mlp else {}),
    }


def _ratio(mlp_dim: int, hidden_dim: int) -> float:
    """The ratio that timm multiplies the width with to get that of the MLP, whose fraction it cuts off."""
    exact = mlp_dim / hidden_dim
    return exact if int(hidden_dim * exact) == mlp_dim else (mlp_dim + 0.5) / hidden_dim
