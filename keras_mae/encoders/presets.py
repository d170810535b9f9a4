"""Named sizes of the published models."""

from __future__ import annotations

from typing import Any

from keras_mae.registry import check_name


def _vit(hidden_dim: int, num_layers: int, num_heads: int, patch_size: int = 16) -> dict[str, Any]:
    return {
        "image_shape": (224, 224, 3),
        "patch_size": patch_size,
        "hidden_dim": hidden_dim,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "mlp_dim": 4 * hidden_dim,
    }


# arXiv 2010.11929, table 1 (base, large, huge); arXiv 2012.12877, table 1 (tiny, small)
VIT_PRESETS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16": _vit(192, 12, 3),
    "vit_small_patch16": _vit(384, 12, 6),
    "vit_base_patch16": _vit(768, 12, 12),
    "vit_large_patch16": _vit(1024, 24, 16),
    "vit_huge_patch14": _vit(1280, 32, 16, patch_size=14),
}

# arXiv 2111.06377, table 1a and 1b: the default decoder
MAE_DECODER: dict[str, Any] = {"hidden_dim": 512, "num_layers": 8, "num_heads": 16}

# arXiv 2111.09886, appendix A, and the ViT of its code; the second is a ViT as timm has it
SIMMIM_PRESETS: dict[str, dict[str, Any]] = {
    "simmim_vit_base_patch16": {
        **VIT_PRESETS["vit_base_patch16"],
        "position_embedding": None,
        "relative_position_bias": "shared",
        "layer_scale": 0.1,
    },
    "simmim_plain_vit_base_patch16": {**VIT_PRESETS["vit_base_patch16"], "position_embedding": "learned"},
}
PRESETS = VIT_PRESETS | SIMMIM_PRESETS
# arXiv 2111.09886, table 1: 0.6 is published with the weights, and 0.5 is as good at this unit
SIMMIM_MASKS: dict[str, dict[str, Any]] = {
    "simmim_vit_base_patch16": {"unit": 32, "mask_ratio": 0.6},
    "simmim_plain_vit_base_patch16": {"unit": 32, "mask_ratio": 0.5},
}


def of_this_version(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a `ViTEncoder`, or settings of one, in a file that an earlier version may have written."""
    arguments = dict(arguments)
    if "use_cls_token" in arguments:
        arguments["num_cls_tokens"] = int(arguments.pop("use_cls_token"))
    return arguments


def encoder_arguments(name: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """The constructor arguments of the encoder preset `name`, updated by `overrides`.

    Raises:
        ValueError: for an unknown preset; the near names are shown.
    """
    check_name("preset", name, PRESETS)
    arguments = {**PRESETS[name], **overrides}
    if "hidden_dim" in overrides and "mlp_dim" not in overrides:
        arguments["mlp_dim"] = 4 * overrides["hidden_dim"]
    return arguments
