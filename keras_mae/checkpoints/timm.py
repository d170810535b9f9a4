"""The names of timm's `VisionTransformer`, and of its `Eva` with rotary positions: DINOv3 and LingBot-Vision."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import keras

from keras_mae.checkpoints.checkpoint_format import FORMATS, ZEROS, CheckpointFormat
from keras_mae.checkpoints.mae_torch import ENCODER, LAYER_SCALE, MAETorchFormat

_TOKENS_AND_NORMS = {
    "encoder.registers": "reg_token",
    "encoder.norm_pre": "norm_pre",
    "encoder.blocks.{}.attention.q_norm": "blocks.{}.attn.q_norm",
    "encoder.blocks.{}.attention.k_norm": "blocks.{}.attn.k_norm",
    "mask_token": "mask_token",
}
# From the names of DINOv2's own code, which timm renames too
_RENAMED = {"register_tokens": "reg_token", ".mlp.w12.": ".mlp.fc1.", ".mlp.w3.": ".mlp.fc2."}


class TimmFormat(MAETorchFormat):
    """Files of timm's `VisionTransformer` (ViT, DeiT, DINOv2): the names of the official code, without a decoder.

    `global_pool="token"` has `norm`, `global_pool="avg"` has `fc_norm`; without a head, either may come. Models without
    a class token need `num_cls_tokens=0`, those with `no_embed_class` `num_prefix_positions=0`. LayerScale is `ls1` and
    `ls2`, a gated MLP is packed in `fc1`, its gate first. A mask token comes from DINO's training, and has no use but
    in a SimMIM.
    """

    name = "timm"
    names = {**ENCODER, **LAYER_SCALE, **_TOKENS_AND_NORMS, "head": "head"}
    parts = {"mask_token": r"^mask_token$", "head": r"^head\."}
    probe_names = {}
    foreign = r"^decoder_|\.attn\.q_bias$|\.gamma_1$"
    wrapper = None
    holds = {"num_cls_tokens": (0, 1)}

    def canonical(self, name: str) -> str:
        for old, new in _RENAMED.items():
            name = name.replace(old, new)
        return name

    def position_rows(self, encoder: keras.Model) -> tuple[int, ...]:
        return 0, encoder.num_prefix_tokens


class EvaNames(TimmFormat):
    """Files of timm's `Eva` as DINOv3 and LingBot-Vision are: rotary positions, registers, no absolute positions.

    timm has other models with rotary positions of other kinds, of which there is no tensor. They have not both a class
    token and registers, or have absolute positions, and are not taken for these.

    Queries and values have a bias each and keys none, or there are no biases (`qkvb` in timm's names tells them apart).
    The gate of a gated MLP is `fc1_g`, its value `fc1_x`.
    """

    names = {
        **TimmFormat.names,
        "encoder.blocks.{}.attention.qkv.bias": ("blocks.{}.attn.q_bias", ZEROS, "blocks.{}.attn.v_bias"),
        "encoder.blocks.{}.attention_scale.gamma": "blocks.{}.gamma_1",
        "encoder.blocks.{}.mlp_scale.gamma": "blocks.{}.gamma_2",
    }
    signature = r"^reg_token$"
    foreign = r"(^|\.)pos_embed$|relative_position|\.attn\.qkv\.bias$|^decoder|\.(mlp|attn)\.norm\."
    holds = {"num_cls_tokens": (1,), "position_embedding": (None,), "relative_position_bias": (None,)}
    rotary = True
    epsilon = 1e-5

    def recognises(self, names: Collection[str]) -> bool:
        return super().recognises(names) and any(self.canonical(name) == "cls_token" for name in names)

    def refusal(self, encoder: keras.Model) -> str | None:
        none = "num_registers=0, where its models with rotary positions have at least 1"
        return super().refusal(encoder) or (None if encoder.num_registers else none)

    def for_model(
        self, model: keras.Model, found: Collection[str] | None, skipped: Callable[[str], bool]
    ) -> tuple[CheckpointFormat, list[str]]:
        own, notes = super().for_model(model, found, skipped)
        gated = model_is_gated(model) if found is None else any(re.search(r"\.mlp\.fc1_g\.", name) for name in found)
        if gated:
            own.names["encoder.blocks.{}.mlp_hidden"] = ("blocks.{}.mlp.fc1_g", "blocks.{}.mlp.fc1_x")
        return own, notes


def model_is_gated(model: keras.Model) -> bool:
    """Whether the MLPs of a model's encoder are gated."""
    return bool(getattr(model, "encoder", model).gated_mlp)


TimmFormat.families = (EvaNames(),)
FORMATS.register("timm")(TimmFormat())
