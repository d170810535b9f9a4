"""The names of microsoft/SimMIM's Vision Transformer, which are BEiT's."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import keras

from keras_mae.checkpoints.checkpoint_format import FORMATS, ZEROS, CheckpointFormat
from keras_mae.checkpoints.mae_torch import ENCODER, MAETorchFormat
from keras_mae.models import SimMIM

_SHARED = "rel_pos_bias.relative_position_bias_table"
_PER_BLOCK = "blocks.{}.attn.relative_position_bias_table"


class SimMIMTorchFormat(MAETorchFormat):
    """Files of SimMIM's PyTorch code: pretrained, the encoder alone, fine-tuned.

    Pretrained files have the prefix `encoder.`, also for the mask token. Queries and values have a bias each and keys
    none: ours is then zero. (A key's bias adds the same number to all logits of a query, which softmax cancels; files
    are written without it.) The linear head is a convolution of 1 x 1 before a PixelShuffle, which has a patch's values
    in the order channel, row, column. The indices of relative positions are no weights, and not read.
    """

    name = "simmim_torch"
    names = {
        **ENCODER,
        "encoder.blocks.{}.attention.qkv.bias": ("blocks.{}.attn.q_bias", ZEROS, "blocks.{}.attn.v_bias"),
        "encoder.blocks.{}.attention_scale.gamma": "blocks.{}.gamma_1",
        "encoder.blocks.{}.mlp_scale.gamma": "blocks.{}.gamma_2",
        "mask_token": "mask_token",
        "decoder.projection": "decoder.0",
        "head": "head",
    }
    parts = {
        "decoder": r"^(decoder\.|mask_token$)",
        "nothing": r"(^|\.)relative_position_index$|\.num_batches_tracked$",
        "head": r"^head\.",
    }
    signature = r"^blocks\.\d+\.attn\.qkv\.weight$"
    foreign = r"\.attn\.qkv\.bias$|^(reg_token|register_tokens)$|\.(q_norm|k_norm)\."
    may_be_gated = False

    def recognises(self, names: Collection[str]) -> bool:
        """Whether the names fit, absolute or relative positions included; rotary ones are no tensor."""
        positions = re.compile(r"(^|\.)pos_embed$|relative_position_bias_table$")
        return super().recognises(names) and any(positions.search(name) for name in names)

    def canonical(self, name: str) -> str:
        return name.removeprefix("encoder.")

    def for_model(
        self, model: keras.Model, found: Collection[str] | None, skipped: Callable[[str], bool]
    ) -> tuple[CheckpointFormat, list[str]]:
        own, notes = super().for_model(model, found, skipped)
        encoder = getattr(model, "encoder", model)
        kind = encoder.relative_position_bias
        if kind is not None:
            own.names["encoder.relative_positions.{}.table"] = _SHARED if kind == "shared" else _PER_BLOCK
        if found is not None:
            _check_kind(kind, found)
        elif isinstance(model, SimMIM):  # as in its pretrained files
            ours = ("decoder.projection",)
            own.names = {key: name if key in ours else _in_encoder(name) for key, name in own.names.items()}
        return own, notes


FORMATS.register("simmim_torch")(SimMIMTorchFormat())


def _in_encoder(name: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(name, tuple):
        return tuple(f"encoder.{each}" if each else ZEROS for each in name)
    return f"encoder.{name}"


def _check_kind(kind: str | None, found: Collection[str]) -> None:
    """Raises a ValueError if the file's bias of relative positions is of another kind than the model's."""
    of_file = None
    if _SHARED in found:
        of_file = "shared"
    elif any(re.fullmatch(re.escape(_PER_BLOCK).replace(r"\{\}", r"\d+"), name) for name in found):
        of_file = "per_block"
    if kind == of_file:
        return
    remedy = f"build the model with relative_position_bias={of_file!r}"
    if (of_file, kind) == ("shared", "per_block"):
        remedy += ", load, and then take encoder.with_relative_position_bias('per_block')"
    raise ValueError(f"the file's relative_position_bias is {of_file!r}, and the model's {kind!r}: {remedy}")
