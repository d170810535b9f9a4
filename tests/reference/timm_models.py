"""Small models of timm with random weights, and the arguments of ours of the same kind."""

import functools
import importlib

import torch

from tests.reference import torchvision_operators
from tests.reference.torch_weights import DEPTH, HEADS, IMAGE, MLP, OURS_DINOV3, PATCH, WIDTH, randomize

OPERATORS = torchvision_operators  # has to be imported before timm
layers = importlib.import_module("timm.layers")
VisionTransformer = importlib.import_module("timm.models.vision_transformer").VisionTransformer
Eva = importlib.import_module("timm.models.eva").Eva

_SIZES = {"img_size": IMAGE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
_SIZES |= {"num_classes": 0, "mlp_ratio": MLP / WIDTH}
_NORM = functools.partial(layers.LayerNorm, eps=1e-5)
_DINOV3 = {
    "init_values": 1e-5,
    "rope_type": "dinov3",
    "rope_temperature": 100,
    "rope_rotate_half": True,
    "use_rot_pos_emb": True,
    "use_abs_pos_emb": False,
    "num_reg_tokens": 4,
    "use_fc_norm": False,
    "norm_layer": _NORM,
}
_SWIGLU = {"mlp_layer": layers.SwiGLUPacked, "mlp_ratio": 2 * MLP / WIDTH}

# by name: timm's class, its arguments, and the arguments of ViTEncoder beside the sizes
KINDS = {
    "vit": (VisionTransformer, {}, {}),
    "vit, average": (VisionTransformer, {"global_pool": "avg"}, {}),
    "no class token": (
        VisionTransformer,
        {"class_token": False, "global_pool": "avg", "fc_norm": False},
        {"num_cls_tokens": 0},
    ),
    "no_embed_class": (VisionTransformer, {"no_embed_class": True}, {"num_prefix_positions": 0}),
    "no bias": (VisionTransformer, {"qkv_bias": False}, {"qkv_bias": False}),
    "dinov2": (VisionTransformer, {"init_values": 1e-5}, {"layer_scale": 1.0}),
    "dinov2, registers": (
        VisionTransformer,
        {"init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True},
        {"layer_scale": 1.0, "num_registers": 4, "num_prefix_positions": 0},
    ),
    "registers with positions": (
        VisionTransformer,
        {"reg_tokens": 4},
        {"num_registers": 4, "num_prefix_positions": 5},
    ),
    "dinov2 giant": (
        VisionTransformer,
        {"init_values": 1e-5, "act_layer": torch.nn.SiLU, **_SWIGLU},
        {"layer_scale": 1.0, "gated_mlp": True},
    ),
    "qk_norm": (VisionTransformer, {"qk_norm": True}, {"qk_norm": True}),
    "pre_norm": (
        VisionTransformer,
        {"pre_norm": True, "norm_layer": _NORM},
        {"pre_norm": True, "layer_norm_epsilon": 1e-5},
    ),
    "dinov3": (Eva, {**_DINOV3, "qkv_bias": False}, {**OURS_DINOV3, "qkv_bias": False}),
    "dinov3 qkvb": (Eva, {**_DINOV3, "qkv_bias": True}, {**OURS_DINOV3, "key_bias": False}),
    "dinov3 plus": (
        Eva,
        {**_DINOV3, "qkv_bias": True, "swiglu_mlp": True, "swiglu_align_to": 8},
        {**OURS_DINOV3, "key_bias": False, "gated_mlp": True},
    ),
    "lingbot": (
        Eva,
        {**_DINOV3, "qkv_bias": True, "global_pool": "token"},
        {**OURS_DINOV3, "key_bias": False},
    ),
}


def timm_model(kind, seed=0, **changes):
    """A model of timm, every tensor random."""
    model_class, arguments, _ = KINDS[kind]
    return randomize(model_class(**{**_SIZES, **arguments, **changes}), seed)


def our_arguments(kind):
    """All arguments of `ViTEncoder` for it."""
    sizes = {"hidden_dim": WIDTH, "num_layers": DEPTH, "num_heads": HEADS, "mlp_dim": MLP, "patch_size": (PATCH, PATCH)}
    return {"image_shape": (IMAGE, IMAGE, 3), **sizes, "position_embedding": "learned", **KINDS[kind][2]}
