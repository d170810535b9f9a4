"""The names of Hugging Face's Vision Transformers: ViT, ViTMAE and those in `hf_families`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection

import keras

from keras_mae.checkpoints.checkpoint_format import FORMATS, CheckpointFormat
from keras_mae.checkpoints.hf_families import Dinov2Names, DINOv3Names, Family, PixioNames, hf_blocks
from keras_mae.models import ImageClassifier

# From the names of transformers 5, in memory and in part in its files, to those of published files
_RENAMED = (
    (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),
    (r"^(vit\.)?layers\.", "vit.encoder.layer."),
    (r"^(embeddings|encoder|layernorm|pooler)\.", r"vit.\1."),  # a model without a head has no prefix
    (r"(\.\d+)\.attention\.q_proj\.", r"\1.attention.attention.query."),
    (r"(\.\d+)\.attention\.k_proj\.", r"\1.attention.attention.key."),
    (r"(\.\d+)\.attention\.v_proj\.", r"\1.attention.attention.value."),
    (r"(\.\d+)\.attention\.o_proj\.", r"\1.attention.output.dense."),
    (r"(\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
    (r"(\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
)


class HFFormat(Family):
    """Files of Hugging Face's `ViT*` and `ViTMAE*` classes, `ViTForMaskedImageModeling` for a SimMIM included.

    It reads the names of published files and of transformers 5, and writes the published ones, which every version
    reads. Its classifier takes the class token; the pooler (a dense layer with tanh on top of the class token) is not
    part of any model here. No file states LayerNorm's epsilon, but the `config.json` beside it: Hugging Face's default
    is `layer_norm_epsilon=1e-12`, ours and the official code's 1e-6.
    """

    renamed = _RENAMED
    names = {
        "encoder.cls_token": "vit.embeddings.cls_token",
        "encoder.positions.table": "vit.embeddings.position_embeddings",
        "encoder.patch_projection": "vit.embeddings.patch_embeddings.projection",
        **hf_blocks("encoder.blocks", "vit.encoder.layer"),
        "encoder.norm": "vit.layernorm",
        "mask_token": "vit.embeddings.mask_token",
        "decoder.projection": "decoder.0",
        "decoder.mask_token": "decoder.mask_token",
        "decoder.positions.table": "decoder.decoder_pos_embed",
        "decoder.embedding": "decoder.decoder_embed",
        **hf_blocks("decoder.blocks", "decoder.decoder_layers"),
        "decoder.norm": "decoder.decoder_norm",
        "decoder.head": "decoder.decoder_pred",
        "head": "classifier",
    }
    parts = {
        "decoder": r"^decoder\.|^vit\.embeddings\.mask_token$",
        "nothing": r"^vit\.pooler\.",
        "head": r"^classifier\.",
    }
    signature = r"^vit\.encoder\.layer\.\d+\.layernorm_before\.weight$"
    families = (PixioNames(), Dinov2Names(), DINOv3Names())
    holds = {
        "num_cls_tokens": (0, 1),
        "layer_scale": (None,),
        "num_registers": (0,),
        "qk_norm": (False,),
        "pre_norm": (False,),
        "gated_mlp": (False,),
    }
    epsilon = 1e-12

    def for_model(
        self, model: keras.Model, found: Collection[str] | None, skipped: Callable[[str], bool]
    ) -> tuple[CheckpointFormat, list[str]]:
        if isinstance(model, ImageClassifier) and model.pooling != "cls" and not skipped("head.kernel"):
            if found is None or any(name.startswith("classifier.") for name in found):
                raise ValueError(
                    "Hugging Face's ViTForImageClassification takes the class token, and this ImageClassifier the mean "
                    "of the patch tokens: build it with pooling='cls'; or, to load, take the encoder alone with "
                    "skip=('head.*',), or, to save, choose the format 'timm'"
                )
        return copy.copy(self), []


FORMATS.register("hf")(HFFormat())
