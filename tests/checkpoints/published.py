"""Models of the published libraries with random weights, their files, and ours of the same sizes.

Every tensor holds seeded random numbers, tokens and position embeddings included: a fresh ViTMAE has zeros there, and
zeros mixed up are not seen.
"""

import pathlib
import re

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from keras_mae.masking import RandomMasking
from keras_mae.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder
from keras_mae.targets import PixelTarget
from tests.reference.torch_weights import randomize

torch.set_num_threads(1)  # these models are small, and threads that wait for each other cost more than they bring
MASK_RATIO = 0.6
SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
BASE = {"hidden_size": 768, "num_hidden_layers": 2, "num_attention_heads": 12, "intermediate_size": 3072}
HUGE = {"hidden_size": 1280, "num_hidden_layers": 2, "num_attention_heads": 16, "intermediate_size": 5120}
SMALL_DECODER = {
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 28,
}


def hf_mae(sizes=SMALL, image_size=16, patch_size=4, channels=3, epsilon=1e-6, normalize=True, seed=0):
    """Hugging Face's ViTMAEForPreTraining."""
    config = transformers.ViTMAEConfig(
        image_size=image_size,
        patch_size=patch_size,
        num_channels=channels,
        layer_norm_eps=epsilon,
        norm_pix_loss=normalize,
        mask_ratio=MASK_RATIO,
        **sizes,
        **SMALL_DECODER,
    )
    return randomize(transformers.ViTMAEForPreTraining(config), seed)


def hf_vit(sizes=SMALL, image_size=16, patch_size=4, channels=3, epsilon=1e-6, num_classes=5, seed=0):
    """Hugging Face's ViTForImageClassification; `image_size` may be a pair."""
    config = transformers.ViTConfig(
        image_size=image_size,
        patch_size=patch_size,
        num_channels=channels,
        layer_norm_eps=epsilon,
        num_labels=num_classes,
        **sizes,
    )
    return randomize(transformers.ViTForImageClassification(config), seed)


def our_encoder(config, image_shape=None, position_embedding="learned", **overrides):
    """A fresh `ViTEncoder` of the sizes in a Hugging Face config."""
    side, channels = config.image_size, config.num_channels
    sides = tuple(side) if isinstance(side, (tuple, list)) else (side, side)
    return ViTEncoder(
        image_shape or (*sides, channels),
        config.patch_size,
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.intermediate_size,
        position_embedding=position_embedding,
        layer_norm_epsilon=config.layer_norm_eps,
        **overrides,
    )


def our_mae(config, image_shape=None, position_embedding="learned"):
    """A fresh `MaskedAutoencoder` of the sizes in a Hugging Face config."""
    decoder = MAEDecoder(
        config.decoder_hidden_size,
        config.decoder_num_hidden_layers,
        config.decoder_num_attention_heads,
        config.decoder_intermediate_size,
        position_embedding=position_embedding,
        layer_norm_epsilon=config.layer_norm_eps,
    )
    encoder = our_encoder(config, image_shape, position_embedding)
    return MaskedAutoencoder(
        encoder, decoder, RandomMasking(config.mask_ratio), PixelTarget(normalize=config.norm_pix_loss)
    )


def our_classifier(config, pooling="cls", **overrides):
    """A fresh `ImageClassifier` of the sizes in a Hugging Face config."""
    return ImageClassifier(our_encoder(config), config.num_labels, pooling, **overrides)


def pixels_for(encoder, images):
    """Our images `(B, H, W, C)` in [0, 255] as theirs: normalised, `(B, C, H, W)`."""
    mean, std = np.asarray(encoder.normalize_pixels.mean), np.asarray(encoder.normalize_pixels.std)
    pixels = (images.astype("float64") / 255 - mean) / std
    return torch.tensor(pixels.transpose(0, 3, 1, 2), dtype=torch.float32)


def write(path, tensors, wrapper=None):
    """Writes tensors as the libraries do, without any code of ours; returns the path as a string."""
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    pathlib.Path(path).parent.mkdir(exist_ok=True)
    if str(path).endswith(".safetensors"):
        save_file(tensors, str(path))
    else:
        torch.save({wrapper: tensors} if wrapper else tensors, path)
    return str(path)


# Hugging Face's names in published files, from those in the memory of transformers 5.
_PUBLISHED = [
    (r"vit\.layers\.", "vit.encoder.layer."),
    (r"attention\.([qkv])_proj", lambda m: f"attention.attention.{dict(q='query', k='key', v='value')[m[1]]}"),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
]


def published_hf_names(tensors):
    """The tensors of a model in memory under the names of the files on Hugging Face's hub."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _PUBLISHED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


_OFFICIAL = [
    (r"^vit\.embeddings\.cls_token", "cls_token"),
    (r"^vit\.embeddings\.position_embeddings", "pos_embed"),
    (r"^vit\.embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^vit\.layernorm", "norm"),
    (r"^classifier", "head"),
    (r"^vit\.layers", "blocks"),
    (r"^decoder\.decoder_layers", "decoder_blocks"),
    (r"^decoder\.(decoder_|mask_token)", r"\1"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"attention\.o_proj", "attn.proj"),
]


def official_names(hf_model):
    """A Hugging Face model's tensors under the names of the official MAE code (timm's, without a decoder)."""
    renamed = {}
    for name, tensor in hf_model.state_dict().items():
        if re.search(r"attention\.[kv]_proj", name):
            continue  # with the queries, in one matrix
        if "q_proj" in name:
            others = [hf_model.state_dict()[name.replace("q_proj", f"{each}_proj")] for each in "kv"]
            tensor, name = torch.cat([tensor, *others]), name.replace("attention.q_proj", "attn.qkv")
        for pattern, replacement in _OFFICIAL:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed
