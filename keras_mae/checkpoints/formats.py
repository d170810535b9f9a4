"""All formats by name, and a suggestion for a file of another one.

============  ==========================================================  =======
format        models                                                      written
============  ==========================================================  =======
mae_torch     official MAE: pretrained, full, fine-tuned, probed          yes
simmim_torch  SimMIM's code: pretrained, encoder, fine-tuned              yes
timm          ViT and DeiT                                                yes
timm          ViT without class token, biases, or the class' position     yes
timm          ViT with norms of queries and keys, or before the blocks    yes
timm          DINOv2, with and without registers, SwiGLU                  yes
timm          DINOv3 and LingBot-Vision, with and without biases, SwiGLU  yes
hf            ViT                                                         yes
hf            ViTMAE                                                      yes
hf            ViTForMaskedImageModeling                                   yes
hf            Dinov2 and Dinov2WithRegisters, SwiGLU                      yes
hf            DINOv3ViT, gated or not, with and without biases            yes
hf            Pixio                                                       yes
keras         any model of this package                                   yes
============  ==========================================================  =======

Refused, with the reason: a distilled DeiT (two class tokens of different kinds), attention pooling, EVA's norms inside
of blocks, MLPs with another activation than GELU or SwiGLU where a config says so.
"""

from __future__ import annotations

from collections.abc import Collection

import keras

from keras_mae.checkpoints import hf, mae_torch, simmim_torch, timm  # noqa: F401  they register themselves
from keras_mae.checkpoints.checkpoint_format import FORMATS, CheckpointFormat
from keras_mae.checkpoints.name_sets import prefixes_of
from keras_mae.layers.slots import Slot
from keras_mae.registry import listed


class KerasFormat(CheckpointFormat):
    """Models of this package saved by Keras; the names are ours.

    `keras.saving.load_model` returns the saved model. As a checkpoint, such a file also fills an existing model, of
    another kind too: an encoder from a saved `MaskedAutoencoder`, for instance.
    """

    name = "keras"
    names = {}
    parts = {"decoder": r"^(decoder\.|mask_token$)", "head": r"^(head|batch_norm)\."}
    signature = r"^encoder\.patch_projection\.kernel$"

    @property
    def patch_kernel(self) -> str:
        return "encoder.patch_projection.kernel"

    def refusal(self, encoder: keras.Model) -> None:
        """None: every encoder has its place."""

    def file_names(self, slot: Slot) -> tuple[str, ...]:
        return (slot.name,)


FORMATS.register("keras")(KerasFormat())


def suggestion(names: Collection[str], path: str) -> str:
    """A sentence that names the formats with names like these."""
    likely = [fmt.name for fmt in FORMATS.values() if any(prefixes_of(names, each) for each in fmt.members())]
    shown = f"its names ({listed(names, 3)})"
    if not likely:
        return f"{path} looks like none of them: {shown} are not those of a Vision Transformer that this package knows"
    return f"{path} looks like {' or '.join(f'format={name!r}' for name in likely)}, by {shown}"
