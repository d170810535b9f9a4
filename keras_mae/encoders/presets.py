"""Named sizes of the published models."""

from __future__ import annotations

from typing import Any, NamedTuple

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
# arXiv 2512.15715; sizes of base and large as in the published files, which are distilled from a larger model
PIXIO_PRESETS: dict[str, dict[str, Any]] = {
    f"pixio_{name}": {**sizes, "image_shape": (256, 256, 3), "num_cls_tokens": 8, "position_embedding": "learned"}
    for name, sizes in {
        "vit_base_patch16": _vit(768, 12, 12),
        "vit_large_patch16": _vit(1024, 24, 16),
        "vit_huge_patch16": _vit(1280, 32, 16),
    }.items()
}
PIXIO_DECODER: dict[str, Any] = {
    "hidden_dim": 512,
    "num_layers": 32,
    "num_heads": 16,
    "position_embedding": "learned",
}
PRESETS = VIT_PRESETS | SIMMIM_PRESETS | PIXIO_PRESETS
# arXiv 2111.09886, table 1: 0.6 is published with the weights, and 0.5 is as good at this unit
SIMMIM_MASKS: dict[str, dict[str, Any]] = {
    "simmim_vit_base_patch16": {"unit": 32, "mask_ratio": 0.6},
    "simmim_plain_vit_base_patch16": {"unit": 32, "mask_ratio": 0.5},
}


class MAEPreset(NamedTuple):
    """A whole masked autoencoder.

    Attributes:
        encoder: the encoder's preset.
        decoder: arguments of `MAEDecoder`.
        masking: arguments of the sampler: of `UnitMasking` with a unit, else of `RandomMasking`.
        target: arguments of `PixelTarget`.
    """

    encoder: str
    decoder: dict[str, Any]
    masking: dict[str, Any]
    target: dict[str, Any]


# Pixio's units are squares of 4 x 4 patches
MAE_PRESETS: dict[str, MAEPreset] = {
    **{f"mae_{name}": MAEPreset(name, MAE_DECODER, {"mask_ratio": 0.75}, {}) for name in VIT_PRESETS},
    **{
        name: MAEPreset(name, PIXIO_DECODER, {"unit": 64, "mask_ratio": 0.75}, {"normalize": True})
        for name in PIXIO_PRESETS
    },
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
