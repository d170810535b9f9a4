"""The names of timm's Vision Transformers."""

from __future__ import annotations

from keras_mae.checkpoints.checkpoint_format import FORMATS
from keras_mae.checkpoints.mae_torch import ENCODER, LAYER_SCALE, MAETorchFormat


class TimmFormat(MAETorchFormat):
    """Files of timm's `VisionTransformer`: the names of the official code, without a decoder.

    `global_pool="token"` has `norm`, `global_pool="avg"` has `fc_norm`; without a head, either may come. Models without
    a class token need `use_cls_token=False`. LayerScale is `ls1` and `ls2`; registers are unexpected names.
    """

    name = "timm"
    names = {**ENCODER, **LAYER_SCALE, "head": "head"}
    parts = {"head": r"^head\."}
    wrapper = None

    def recognises(self, names) -> bool:
        return super().recognises(names) and not any(name.startswith("decoder_") for name in names)

    def _probe_names(self) -> dict[str, str | tuple[str, str, str]]:
        return {}


FORMATS.register("timm")(TimmFormat())
