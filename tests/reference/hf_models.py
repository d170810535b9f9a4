"""Small models of Hugging Face with random weights, and the arguments of ours of the same kind."""

import transformers

from tests.reference.torch_weights import DEPTH, HEADS, IMAGE, MLP, OURS_DINOV3, PATCH, WIDTH, randomize

_SIZES = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
_SIZES |= {"image_size": IMAGE, "patch_size": PATCH}
_VIT, _RATIO = {"intermediate_size": MLP}, {"mlp_ratio": MLP // WIDTH}
_DINOV3 = {**_VIT, "num_register_tokens": 4}

# by name: the model's class, that of its config, the arguments of that, and those of ViTEncoder beside the sizes
KINDS = {
    "vit": ("ViTModel", "ViTConfig", _VIT, {"layer_norm_epsilon": 1e-12}),
    "vit, no bias": (
        "ViTModel",
        "ViTConfig",
        {**_VIT, "qkv_bias": False},
        {"layer_norm_epsilon": 1e-12, "qkv_bias": False},
    ),
    "dinov2": ("Dinov2Model", "Dinov2Config", _RATIO, {"layer_scale": 1.0}),
    "dinov2 giant": (
        "Dinov2Model",
        "Dinov2Config",
        {"mlp_ratio": 3, "use_swiglu_ffn": True},
        {"layer_scale": 1.0, "gated_mlp": True},
    ),
    "dinov2, registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {**_RATIO, "num_register_tokens": 4},
        {"layer_scale": 1.0, "num_registers": 4},
    ),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", _DINOV3, {**OURS_DINOV3, "key_bias": False}),
    "dinov3, key bias": ("DINOv3ViTModel", "DINOv3ViTConfig", {**_DINOV3, "key_bias": True}, OURS_DINOV3),
    "dinov3, gated": (
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        {**_DINOV3, "use_gated_mlp": True, "hidden_act": "silu"},
        {**OURS_DINOV3, "key_bias": False, "gated_mlp": True},
    ),
    "pixio": ("PixioModel", "PixioConfig", _RATIO, {"num_cls_tokens": 8}),
}


def hf_model(kind, seed=0, **changes):
    """A model of Hugging Face, every tensor random."""
    model_class, config_class, arguments, _ = KINDS[kind]
    config = getattr(transformers, config_class)(**{**_SIZES, **arguments, **changes})
    options = {"add_pooling_layer": False} if model_class == "ViTModel" else {}
    return randomize(getattr(transformers, model_class)(config, **options), seed)


def our_arguments(kind):
    """All arguments of `ViTEncoder` for it."""
    sizes = {"hidden_dim": WIDTH, "num_layers": DEPTH, "num_heads": HEADS, "mlp_dim": MLP, "patch_size": (PATCH, PATCH)}
    return {"image_shape": (IMAGE, IMAGE, 3), **sizes, "position_embedding": "learned", **KINDS[kind][3]}
