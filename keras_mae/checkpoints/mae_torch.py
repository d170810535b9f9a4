"""The names of the official MAE checkpoints, of classifiers fine-tuned from them, and of timm's models."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection

import keras

from keras_mae.checkpoints.checkpoint_format import FORMATS, CheckpointFormat
from keras_mae.models import ImageClassifier


def _blocks(owner: str, module: str) -> dict[str, str]:
    inside = {
        "norm1": "norm1",
        "attention.qkv": "attn.qkv",
        "attention.projection": "attn.proj",
        "norm2": "norm2",
        "mlp_hidden": "mlp.fc1",
        "mlp_output": "mlp.fc2",
    }
    return {f"{owner}.{{}}.{ours}": f"{module}.{{}}.{theirs}" for ours, theirs in inside.items()}


ENCODER = {
    "encoder.cls_token": "cls_token",
    "encoder.positions.table": "pos_embed",
    "encoder.patch_projection": "patch_embed.proj",
    **_blocks("encoder.blocks", "blocks"),
    "encoder.norm": "norm",
}
LAYER_SCALE = {  # timm's
    "encoder.blocks.{}.attention_scale.gamma": "blocks.{}.ls1.gamma",
    "encoder.blocks.{}.mlp_scale.gamma": "blocks.{}.ls2.gamma",
}
_DECODER = {
    "decoder.mask_token": "mask_token",
    "decoder.positions.table": "decoder_pos_embed",
    "decoder.embedding": "decoder_embed",
    **_blocks("decoder.blocks", "decoder_blocks"),
    "decoder.norm": "decoder_norm",
    "decoder.head": "decoder_pred",
}


class MAETorchFormat(CheckpointFormat):
    """Files of the official PyTorch code: pretrained (with or without the decoder), fine-tuned, linear-probed.

    A classifier with average pooling normalises after pooling and names that norm `fc_norm`; one that uses the class
    token names it `norm`. Ours is `encoder.norm` in both. A linear probe's head is a BatchNorm, `head.0`, and a linear
    layer, `head.1`.
    """

    name = "mae_torch"
    names = {**ENCODER, **LAYER_SCALE, **_DECODER, "head": "head"}
    parts = {"decoder": r"^(decoder_|mask_token$)", "nothing": r"\.num_batches_tracked$", "head": r"^head\."}
    probe_names = {"batch_norm": "head.0", "head": "head.1"}
    signature = r"^blocks\.\d+\.attn\.qkv\.weight$"
    wrapper: str | None = "model"

    def recognises(self, names: Collection[str]) -> bool:
        return super().recognises(names) and not any(re.search(r"\.attn\.q_bias$", name) for name in names)

    def for_model(
        self, model: keras.Model, found: Collection[str] | None, skipped: Callable[[str], bool]
    ) -> tuple[CheckpointFormat, list[str]]:
        own = copy.copy(self)
        norm, notes = self._final_norm(model, found, skipped)
        own.names = {**self.names, "encoder.norm": norm}
        if isinstance(model, ImageClassifier) and model.is_probe:
            own.names |= self.probe_names
        return own, notes

    def _final_norm(
        self, model: keras.Model, found: Collection[str] | None, skipped: Callable[[str], bool]
    ) -> tuple[str, list[str]]:
        """The name of the last LayerNorm, which depends on its place before or after pooling."""
        is_classifier = isinstance(model, ImageClassifier)
        after_pooling = is_classifier and model.pooling == "mean" and not model.is_probe
        expected = "fc_norm" if after_pooling else "norm"
        if found is None or f"{expected}.weight" in found:
            return expected, []
        other = "norm" if after_pooling else "fc_norm"
        if f"{other}.weight" not in found:
            return expected, []  # neither: the merge lists it as missing
        if is_classifier and not skipped("head.kernel"):
            if not any(name.startswith("head.") for name in found):
                return other, []  # the merge lists the head as missing
            if not after_pooling:
                remedy = "Build the ImageClassifier with pooling='mean', whose norm stands after pooling"
            elif not model.encoder.num_cls_tokens:
                remedy = "Build the ImageClassifier with pooling='cls', which without a class token is that average"
            else:
                remedy = (
                    "If it takes the class token, build the ImageClassifier with pooling='cls', whose norm stands "
                    "before pooling; no classifier here takes the average of normalised tokens without a further norm"
                )
            raise ValueError(
                f"the file's classifier has {other!r} where one with pooling={model.pooling!r} has {expected!r}: its "
                f"head was trained on other features. {remedy}; or load the encoder alone with skip=('head.*',)"
            )
        where = "after" if other == "fc_norm" else "before"
        return other, [f"the final norm starts from the file's {other!r}, which was trained {where} pooling"]


FORMATS.register("mae_torch")(MAETorchFormat())


class TimmFormat(MAETorchFormat):
    """Files of timm's `VisionTransformer`: the names of the official code, without a decoder.

    `global_pool="token"` has `norm`, `global_pool="avg"` has `fc_norm`; without a head, either may come. Models without
    a class token need `num_cls_tokens=0`. LayerScale is `ls1` and `ls2`; registers are unexpected names.
    """

    name = "timm"
    names = {**ENCODER, **LAYER_SCALE, "head": "head"}
    parts = {"head": r"^head\."}
    probe_names = {}
    wrapper = None

    def recognises(self, names: Collection[str]) -> bool:
        return super().recognises(names) and not any(name.startswith("decoder_") for name in names)


FORMATS.register("timm")(TimmFormat())
