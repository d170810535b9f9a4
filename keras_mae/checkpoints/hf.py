"""The names of Hugging Face's ViTMAE and ViT."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection
from typing import Any

import keras

from keras_mae.checkpoints.checkpoint_format import FORMATS, CheckpointFormat
from keras_mae.models import ImageClassifier, MaskedAutoencoder


def _blocks(owner: str, module: str) -> dict[str, str | tuple[str, str, str]]:
    attention = f"{module}.{{}}.attention.attention"
    return {
        f"{owner}.{{}}.norm1": f"{module}.{{}}.layernorm_before",
        f"{owner}.{{}}.attention.qkv": (f"{attention}.query", f"{attention}.key", f"{attention}.value"),
        f"{owner}.{{}}.attention.projection": f"{module}.{{}}.attention.output.dense",
        f"{owner}.{{}}.norm2": f"{module}.{{}}.layernorm_after",
        f"{owner}.{{}}.mlp_hidden": f"{module}.{{}}.intermediate.dense",
        f"{owner}.{{}}.mlp_output": f"{module}.{{}}.output.dense",
    }


# From the names of transformers 5, in memory and in part in its files, to those of published files
_RENAMED = [
    (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),
    (r"^(vit\.)?layers\.", "vit.encoder.layer."),
    (r"^(embeddings|encoder|layernorm|pooler)\.", r"vit.\1."),  # a model without a head has no prefix
    (r"(\.\d+)\.attention\.q_proj\.", r"\1.attention.attention.query."),
    (r"(\.\d+)\.attention\.k_proj\.", r"\1.attention.attention.key."),
    (r"(\.\d+)\.attention\.v_proj\.", r"\1.attention.attention.value."),
    (r"(\.\d+)\.attention\.o_proj\.", r"\1.attention.output.dense."),
    (r"(\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
    (r"(\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
]


class HFFormat(CheckpointFormat):
    """Files of Hugging Face's `ViTMAEForPreTraining`, `ViTMAEModel`, `ViTModel` and `ViTForImageClassification`.

    It reads the names of published files and of transformers 5, and writes the published ones, which every version
    reads. Its classifier takes the class token; the pooler (a dense layer with tanh on top of the class token) is not
    part of any model here. No file states LayerNorm's epsilon: Hugging Face's default is `layer_norm_epsilon=1e-12`,
    ours and the official code's 1e-6.
    """

    name = "hf"
    names = {
        "encoder.cls_token": "vit.embeddings.cls_token",
        "encoder.positions.table": "vit.embeddings.position_embeddings",
        "encoder.patch_projection": "vit.embeddings.patch_embeddings.projection",
        **_blocks("encoder.blocks", "vit.encoder.layer"),
        "encoder.norm": "vit.layernorm",
        "decoder.mask_token": "decoder.mask_token",
        "decoder.positions.table": "decoder.decoder_pos_embed",
        "decoder.embedding": "decoder.decoder_embed",
        **_blocks("decoder.blocks", "decoder.decoder_layers"),
        "decoder.norm": "decoder.decoder_norm",
        "decoder.head": "decoder.decoder_pred",
        "head": "classifier",
    }
    parts = {
        "decoder": r"^decoder\.|^vit\.embeddings\.mask_token$",
        "nothing": r"^vit\.pooler\.",
        "head": r"^classifier\.",
    }
    signature = r"^vit\.encoder\.layer\.\d+\.attention\.attention\.query\.weight$"

    def canonical(self, name: str) -> str:
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        return name

    def grid_beside(self, path: str) -> tuple[int, int] | None:
        try:
            with open(os.path.join(os.path.dirname(os.path.abspath(path)), "config.json"), encoding="utf-8") as file:
                config = json.load(file)
            image, patch = (_pair(config[name]) for name in ("image_size", "patch_size"))
            return image[0] // patch[0], image[1] // patch[1]
        except (OSError, ValueError, TypeError, KeyError, ZeroDivisionError, RecursionError):
            return None  # the config is optional

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
        return self, []


FORMATS.register("hf")(HFFormat())


def _pair(size: Any) -> tuple[int, int]:
    """Height and width of a size in Hugging Face's form: a number, or two."""
    height, width = size if isinstance(size, list) else (size, size)
    return int(height), int(width)


def config_of(model: keras.Model) -> dict[str, Any] | None:
    """Hugging Face's `config.json` of a model; None if no class there can hold it.

    ViTMAE takes square images and patches only, and every ViT there has a class token.
    """
    encoder = getattr(model, "encoder", model)
    height, width, channels = encoder.image_shape
    is_square = height == width and encoder.patch_size[0] == encoder.patch_size[1]
    is_mae = isinstance(model, MaskedAutoencoder)
    if not encoder.num_cls_tokens or encoder.position_embedding is None or (is_mae and not is_square):
        return None
    config: dict[str, Any] = {
        "architectures": ["ViTMAEForPreTraining" if is_mae else "ViTModel"],
        "model_type": "vit_mae" if is_mae else "vit",
        "hidden_size": encoder.hidden_dim,
        "num_hidden_layers": encoder.num_layers,
        "num_attention_heads": encoder.num_heads,
        "intermediate_size": encoder.mlp_dim,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": encoder.layer_norm_epsilon,
        "image_size": height if is_square else [height, width],
        "patch_size": encoder.patch_size[0] if is_square else list(encoder.patch_size),
        "num_channels": channels,
        "qkv_bias": True,
    }
    if is_mae:
        decoder = model.decoder
        config |= {
            "decoder_hidden_size": decoder.hidden_dim,
            "decoder_num_hidden_layers": decoder.num_layers,
            "decoder_num_attention_heads": decoder.num_heads,
            "decoder_intermediate_size": decoder.mlp_dim,
            "mask_ratio": model.masking.mask_ratio,
            "norm_pix_loss": bool(getattr(model.target, "normalize", False)),
        }
    if isinstance(model, ImageClassifier):
        config["architectures"] = ["ViTForImageClassification"]
        config["id2label"] = {str(index): f"LABEL_{index}" for index in range(model.num_classes)}
        config["label2id"] = {label: int(index) for index, label in config["id2label"].items()}
    return config
