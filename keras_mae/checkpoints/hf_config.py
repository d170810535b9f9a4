"""Hugging Face's `config.json` of a model."""

from __future__ import annotations

from typing import Any

import keras

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.hf_families import Dinov2Names, DINOv3Names, PixioNames
from keras_mae.models import ImageClassifier, MaskedAutoencoder, SimMIM


def config_of(model: keras.Model, fmt: CheckpointFormat) -> dict[str, Any] | None:
    """Hugging Face's `config.json` of a model; None if no class there can hold it.

    ViTMAE and ViTForMaskedImageModeling take square images and patches only, and every ViT there has a class token.
    DINOv2 and Pixio resize the positions of images that are not square, as if they were of square ones.

    Args:
        model: an encoder, autoencoder, SimMIM or classifier.
        fmt: the table of names that writes it.

    Raises:
        ValueError: if the config of its class cannot express the width of its MLPs.
    """
    encoder = getattr(model, "encoder", model)
    height, width, channels = encoder.image_shape
    if height != width and isinstance(fmt, (Dinov2Names, PixioNames)):
        return None
    is_square = height == width and encoder.patch_size[0] == encoder.patch_size[1]
    if isinstance(model, (MaskedAutoencoder, SimMIM)) and not is_square:
        return None
    config: dict[str, Any] = {
        "hidden_size": encoder.hidden_dim,
        "num_hidden_layers": encoder.num_layers,
        "num_attention_heads": encoder.num_heads,
        "hidden_act": "gelu",
        "layer_norm_eps": encoder.layer_norm_epsilon,
        "image_size": height if is_square else [height, width],
        "patch_size": encoder.patch_size[0] if is_square else list(encoder.patch_size),
        "num_channels": channels,
    }
    if isinstance(fmt, DINOv3Names):
        return config | _dinov3(encoder)
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "qkv_bias": encoder.qkv_bias}
    if isinstance(fmt, PixioNames):
        own = {"architectures": ["PixioModel"], "model_type": "pixio", "n_cls_tokens": encoder.num_cls_tokens}
        return config | own | {"mlp_ratio": _ratio(encoder)}
    if isinstance(fmt, Dinov2Names):
        return config | _dinov2(encoder)
    if not encoder.num_cls_tokens or encoder.position_embedding is None:
        return None
    return config | {"intermediate_size": encoder.mlp_dim} | _vit(model)


def _vit(model: keras.Model) -> dict[str, Any]:
    if isinstance(model, MaskedAutoencoder):
        decoder = model.decoder
        return {
            "architectures": ["ViTMAEForPreTraining"],
            "model_type": "vit_mae",
            "decoder_hidden_size": decoder.hidden_dim,
            "decoder_num_hidden_layers": decoder.num_layers,
            "decoder_num_attention_heads": decoder.num_heads,
            "decoder_intermediate_size": decoder.mlp_dim,
            "mask_ratio": model.masking.mask_ratio,
            "norm_pix_loss": bool(getattr(model.target, "normalize", False)),
        }
    config: dict[str, Any] = {"architectures": ["ViTModel"], "model_type": "vit"}
    if isinstance(model, SimMIM):
        stride = model.encoder.patch_size[0]
        return config | {"architectures": ["ViTForMaskedImageModeling"], "encoder_stride": stride}
    if isinstance(model, ImageClassifier):
        labels = {str(index): f"LABEL_{index}" for index in range(model.num_classes)}
        config |= {"architectures": ["ViTForImageClassification"], "id2label": labels}
        config["label2id"] = {label: int(index) for index, label in labels.items()}
        if model.multi_label:
            config["problem_type"] = "multi_label_classification"
    return config


def _dinov2(encoder: keras.Model) -> dict[str, Any]:
    registers = {"num_register_tokens": encoder.num_registers} if encoder.num_registers else {}
    return {
        "architectures": ["Dinov2WithRegistersModel" if encoder.num_registers else "Dinov2Model"],
        "model_type": "dinov2_with_registers" if encoder.num_registers else "dinov2",
        "mlp_ratio": _ratio(encoder),
        "use_swiglu_ffn": encoder.gated_mlp,
        "layerscale_value": encoder.layer_scale,
        "drop_path_rate": 0.0,
        **registers,
    }


def _dinov3(encoder: keras.Model) -> dict[str, Any]:
    return {
        "architectures": ["DINOv3ViTModel"],
        "model_type": "dinov3_vit",
        "hidden_act": "silu" if encoder.gated_mlp else "gelu",
        "intermediate_size": encoder.mlp_dim,
        "use_gated_mlp": encoder.gated_mlp,
        "num_register_tokens": encoder.num_registers,
        "rope_theta": encoder.rotary_temperature,
        "query_bias": encoder.qkv_bias,
        "key_bias": encoder.qkv_bias and encoder.key_bias,
        "value_bias": encoder.qkv_bias,
        "proj_bias": True,
        "mlp_bias": True,
        "layerscale_value": encoder.layer_scale,
        "attention_dropout": 0.0,
        "drop_path_rate": 0.0,
    }


def _ratio(encoder: keras.Model) -> int:
    """`mlp_ratio`, an integer from which Hugging Face's classes compute the width of the MLPs."""
    for ratio in range(1, 2 * encoder.mlp_dim // encoder.hidden_dim + 3):
        width = ratio * encoder.hidden_dim
        if (int(width * 2 / 3) + 7) // 8 * 8 == encoder.mlp_dim if encoder.gated_mlp else width == encoder.mlp_dim:
            return ratio
    raise ValueError(
        f"Hugging Face's class for this encoder has MLPs of an integer multiple of its width {encoder.hidden_dim}"
        f"{' (of two thirds of it, where they are gated)' if encoder.gated_mlp else ''}, and mlp_dim is "
        f"{encoder.mlp_dim}: choose the format 'timm' or 'keras'"
    )
