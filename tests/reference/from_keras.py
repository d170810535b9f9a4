"""The weights of our models as the plain dicts of the references.

`array` turns a variable into the array that a reference computes with: NumPy's by default, or `torch_mae.Leaves`.
"""

import keras


def _array(variable):
    return keras.ops.convert_to_numpy(variable).astype("float64")


def _linear(dense, array=_array):
    return {"kernel": array(dense.kernel), "bias": array(dense.bias)}


def _norm(norm, array=_array):
    return {"gain": array(norm.gamma), "bias": array(norm.beta)}


def block_weights(block, array=_array):
    """The weights of a `TransformerBlock`."""
    qkv, dim = _linear(block.attention.qkv, array), block.hidden_dim
    thirds = {
        name: {"kernel": qkv["kernel"][:, start : start + dim], "bias": qkv["bias"][start : start + dim]}
        for name, start in (("query", 0), ("key", dim), ("value", 2 * dim))
    }
    return {
        **thirds,
        "norm1": _norm(block.norm1, array),
        "output": _linear(block.attention.projection, array),
        "norm2": _norm(block.norm2, array),
        "mlp1": _linear(block.mlp_hidden, array),
        "mlp2": _linear(block.mlp_output, array),
    }


def _trunk(model, array=_array):
    return {
        "positions": array(model.positions.table),
        "blocks": [block_weights(block, array) for block in model.blocks],
        "norm": _norm(model.norm, array),
        "heads": model.num_heads,
    }


def encoder_weights(encoder, array=_array):
    """The weights of a `ViTEncoder`, whose prefix tokens are class tokens with positions."""
    prefix = array(encoder.cls_token)[0] if encoder.num_cls_tokens else array(encoder.positions.table)[:0]
    own = {"patch": _linear(encoder.patch_projection, array), "prefix": prefix}
    return {**_trunk(encoder, array), **own, **({"cls": prefix[0]} if len(prefix) else {})}


def decoder_weights(decoder, array=_array):
    """The weights of an attached `MAEDecoder`."""
    own = {"embed": _linear(decoder.embedding, array), "mask_token": array(decoder.mask_token)[0, 0]}
    return {**_trunk(decoder, array), **own, "head": _linear(decoder.head, array)}


def _cross_block_weights(block, array):
    both, dim = _linear(block.attention.key_value, array), block.hidden_dim
    return {
        "query": _linear(block.attention.query, array),
        "key": {"kernel": both["kernel"][:, :dim], "bias": both["bias"][:dim]},
        "value": {"kernel": both["kernel"][:, dim:], "bias": both["bias"][dim:]},
        "norm1": _norm(block.norm1, array),
        "output": _linear(block.attention.projection, array),
        "norm2": _norm(block.norm2, array),
        "mlp1": _linear(block.mlp_hidden, array),
        "mlp2": _linear(block.mlp_output, array),
    }


def cross_decoder_weights(decoder, array=_array):
    """The weights of an attached `CrossDecoder`, for `torch_mae`."""
    several = decoder.encoder_layers is not None
    return {
        "positions": array(decoder.positions.table),
        "blocks": [_cross_block_weights(block, array) for block in decoder.blocks],
        "norm": _norm(decoder.norm, array),
        "heads": decoder.num_heads,
        "num_patches": decoder.geometry.num_patches,
        "mask_token": array(decoder.mask_token)[0, 0],
        "head": _linear(decoder.head, array),
        "mix": array(decoder.layer_weights) if several else None,
        "memory_norms": [_norm(norm, array) for norm in decoder.memory_norms] if several else None,
    }
