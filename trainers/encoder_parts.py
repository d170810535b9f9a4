"""The part of a config that makes an encoder; see `model_parts` for what a part is.

A new kind of encoder is a frozen dataclass under the registry below.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any, Literal

from keras_mae.encoders.presets import PRESETS
from keras_mae.registry import Registry
from keras_mae.trainers.ranges import (
    AtLeast0,
    Layers,
    Positive,
    PrefixTokens,
    Preset,
    Share,
    ShareAbove0,
    ShareBelow1,
    Size,
)

if TYPE_CHECKING:
    from keras_mae import models

ENCODERS: Registry[type] = Registry("encoder")
# what presets have beside sizes; a setting's default replaces it
_KINDS = ("num_cls_tokens", "position_embedding", "relative_position_bias", "layer_scale")
_log = logging.getLogger("keras_mae")


@ENCODERS.register("vit")
@dataclasses.dataclass(frozen=True)
class ViT:
    """A Vision Transformer, `ViTEncoder`.

    Attributes:
        preset: named sizes, such as `vit_base_patch16`.
        image_size: height and width of the model's images, in pixels.
        channels: number of channels of the images; `mean` and `std` have as many numbers.
        patch_size: height and width of a patch, in pixels.
        hidden_dim: width of a token; None for the preset's.
        num_layers: number of transformer blocks; None for the preset's.
        num_heads: attention heads of a block; None for the preset's.
        mlp_dim: width of a block's MLP, of a gated one after the gate; None for the preset's, or 4 hidden_dim.
        num_cls_tokens: number of class tokens, 0 for none.
        num_registers: number of register tokens, as in DINOv2 and DINOv3.
        num_prefix_positions: how many of these tokens have an absolute position: 0, the class tokens, or all of them;
            None for the class tokens.
        position_embedding: `sincos`, `learned` or None: absolute positions, also of the decoder (sin-cos for None).
        position_temperature: of sin-cos positions: the longest wave spans 2 pi times as many patches.
        rotary_temperature: of rotary positions, in addition to absolute ones, 100 in DINOv3; None for no rotary ones.
        relative_position_bias: `shared` by all blocks, `per_block`, or None.
        qkv_bias: whether queries, keys and values have a bias.
        key_bias: whether the keys' part of that bias is trained; otherwise it is zero, as in DINOv3.
        qk_norm: whether queries and keys are normalised.
        gated_mlp: whether MLPs are gated (SwiGLU), as in the largest DINOv2 and DINOv3.
        pre_norm: whether a norm comes before the first block, and the patch projection has no bias, as in CLIP.
        layer_scale: initial value of LayerScale's gains; None for no LayerScale.
        layer_norm_epsilon: added to the variance in every norm.
        drop_path_rate: share of the examples that skip the last block; it grows linearly from 0 at the first block.
        mean: of the pixels, a number in [0, 1] for each channel; None for ImageNet's (three channels) or 0.5.
        std: of the pixels, as `mean`.
    """

    preset: Preset = "vit_base_patch16"
    image_size: tuple[Size, Size] = (224, 224)
    channels: Size = 3
    patch_size: tuple[Size, Size] = (16, 16)
    hidden_dim: Size | None = None
    num_layers: Layers | None = None
    num_heads: Size | None = None
    mlp_dim: Size | None = None
    num_cls_tokens: PrefixTokens = 1
    num_registers: PrefixTokens = 0
    num_prefix_positions: PrefixTokens | None = None
    position_embedding: Literal["sincos", "learned"] | None = "sincos"
    position_temperature: Positive = 10000.0
    rotary_temperature: Positive | None = None
    relative_position_bias: Literal["shared", "per_block"] | None = None
    qkv_bias: bool = True
    key_bias: bool = True
    qk_norm: bool = False
    gated_mlp: bool = False
    pre_norm: bool = False
    layer_scale: AtLeast0 | None = None
    layer_norm_epsilon: Positive = 1e-6
    drop_path_rate: ShareBelow1 = 0.0
    mean: tuple[Share, ...] | None = None
    std: tuple[ShareAbove0, ...] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)`."""
        return (*self.image_size, self.channels)

    def arguments(self) -> dict[str, Any]:
        """The arguments of `ViTEncoder.from_preset` beside the preset."""
        given = dataclasses.asdict(self)
        del given["preset"], given["image_size"], given["channels"]
        for size in ("hidden_dim", "num_layers", "num_heads", "mlp_dim"):
            if given[size] is None:  # the preset's
                del given[size]
        return {"image_shape": self.image_shape, **given}

    def build(self, dtype: str) -> models.ViTEncoder:
        """The encoder, freshly initialised."""
        from keras_mae import models

        given = self.arguments()
        for name, value in PRESETS[self.preset].items():
            if name in _KINDS and value != given[name]:
                _log.info(
                    "the preset %s has %s=%s, and this run %s (--set %s=%s for the preset's; masks and decoder are a "
                    "recipe's)",
                    self.preset, name, value, given[name], name, value,
                )  # fmt: skip
        return models.ViTEncoder.from_preset(self.preset, **self.arguments(), dtype=dtype)
