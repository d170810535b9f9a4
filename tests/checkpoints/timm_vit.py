"""timm's `VisionTransformer`, written out: its tensors by name, and what it computes from them.

timm needs torchvision, which is not there for every PyTorch. Names and shapes are those of the `state_dict()` of
`timm.models.vision_transformer.VisionTransformer` in timm 1.0.31, whose logits were the same to the bit.
"""

import torch
from torch.nn.functional import conv2d, gelu, layer_norm, linear, scaled_dot_product_attention

WIDTH, MLP, DEPTH, HEADS, PATCH, CLASSES = 24, 40, 2, 3, 4, 5


def shapes(image_size, pool="token", class_token=True):
    """The shape of each tensor with `global_pool=pool`."""
    tokens = image_size[0] // PATCH * (image_size[1] // PATCH) + class_token
    layers = {"patch_embed.proj": (WIDTH, 3, PATCH, PATCH)}
    for block in (f"blocks.{index}" for index in range(DEPTH)):
        layers |= {
            f"{block}.norm1": (WIDTH,),
            f"{block}.attn.qkv": (3 * WIDTH, WIDTH),
            f"{block}.attn.proj": (WIDTH, WIDTH),
            f"{block}.norm2": (WIDTH,),
            f"{block}.mlp.fc1": (MLP, WIDTH),
            f"{block}.mlp.fc2": (WIDTH, MLP),
        }
    layers |= {"norm" if pool == "token" else "fc_norm": (WIDTH,), "head": (CLASSES, WIDTH)}
    tensors = {"cls_token": (1, 1, WIDTH)} if class_token else {}
    tensors |= {"pos_embed": (1, tokens, WIDTH)}
    for layer, shape in layers.items():
        tensors |= {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
    return tensors


def random_tensors(image_size, pool="token", class_token=True, seed=0):
    """Every tensor filled with random numbers of a sensible size."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes(image_size, pool, class_token).items():
        values = torch.randn(shape, generator=generator)
        if "norm" in name:
            tensors[name] = 0.2 * values + (1 if name.endswith("weight") else 0)
        else:
            tensors[name] = values * (values[0].numel() ** -0.5 if name.endswith("weight") else 0.3)
    return tensors


def logits(tensors, pixels):
    """What the model computes from normalised pixels `(B, 3, H, W)`."""

    def dense(x, name):
        return linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(x, name):
        return layer_norm(x, (WIDTH,), tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps=1e-6)

    kernel, bias = tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.bias"]
    x = conv2d(pixels, kernel, bias, stride=PATCH).flatten(2).transpose(1, 2)  # (B, L, D)
    prefix = [tensors["cls_token"].expand(len(x), -1, -1)] if "cls_token" in tensors else []
    x = torch.cat([*prefix, x], dim=1) + tensors["pos_embed"]
    for block in (f"blocks.{index}" for index in range(DEPTH)):
        qkv = dense(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        query, key, value = qkv.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, N, D / heads)
        attended = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + dense(attended, f"{block}.attn.proj")
        x = x + dense(gelu(dense(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
    if "norm.weight" in tensors:  # global_pool="token"
        return dense(norm(x, "norm")[:, 0], "head")
    return dense(norm(x[:, len(prefix) :].mean(dim=1), "fc_norm"), "head")  # global_pool="avg"
