"""The weights of our models as the plain dicts of the NumPy reference."""

import keras


def _array(variable):
    return keras.ops.convert_to_numpy(variable).astype("float64")


def _linear(dense):
    return {"kernel": _array(dense.kernel), "bias": _array(dense.bias)}


def _norm(norm):
    return {"gain": _array(norm.gamma), "bias": _array(norm.beta)}


def block_weights(block):
    """The weights of a `TransformerBlock`."""
    qkv, dim = _linear(block.attention.qkv), block.hidden_dim
    thirds = {
        name: {"kernel": qkv["kernel"][:, start : start + dim], "bias": qkv["bias"][start : start + dim]}
        for name, start in (("query", 0), ("key", dim), ("value", 2 * dim))
    }
    return {
        **thirds,
        "norm1": _norm(block.norm1),
        "output": _linear(block.attention.projection),
        "norm2": _norm(block.norm2),
        "mlp1": _linear(block.mlp_hidden),
        "mlp2": _linear(block.mlp_output),
    }


def _trunk(model):
    return {
        "positions": _array(model.positions.table),
        "blocks": [block_weights(block) for block in model.blocks],
        "norm": _norm(model.norm),
        "heads": model.num_heads,
    }


def encoder_weights(encoder):
    """The weights of a `ViTEncoder` with a class token."""
    return {**_trunk(encoder), "patch": _linear(encoder.patch_projection), "cls": _array(encoder.cls_token)[0, 0]}


def decoder_weights(decoder):
    """The weights of an attached `MAEDecoder`."""
    token = _array(decoder.mask_token)[0, 0]
    return {**_trunk(decoder), "embed": _linear(decoder.embedding), "mask_token": token, "head": _linear(decoder.head)}
