"""Where the class token of a Vision Transformer looks."""

from __future__ import annotations

import tensorflow as tf


def class_token_attention(encoder, images) -> tf.Tensor:
    """The attention of the class token to the patches, in each head of the last block.

    It is the mean over several class tokens. What a token gives to the class tokens and registers is left out, so that
    the weights sum to less than 1.

    Args:
        encoder: a `ViTEncoder` with a class token.
        images: as for `encode`.

    Returns:
        float32 `(B, heads, L)`.

    Raises:
        ValueError: if the encoder has no class token.

    Reference: arXiv 2104.14294 (DINO), figure 1.
    """
    count, prefix, last = encoder.num_cls_tokens, encoder.num_prefix_tokens, encoder.num_layers - 1
    if not count:
        raise ValueError("the encoder has no class token whose attention could be drawn (num_cls_tokens=0)")
    x = encoder._stem(images) if not last else tf.concat(encoder.tokens_of_layer(images, last), axis=1)  # (B, P + L, D)
    biases = [layer() for layer in encoder.relative_positions] or [None]
    rotation = None if encoder.rotary_temperature is None else encoder.rotary_positions(None)
    block = encoder.blocks[last]
    weights = block.attention.attention(block.norm1(x), biases[last % len(biases)], rotation)  # (B, heads, N, N)
    return tf.reduce_mean(weights[:, :, :count, prefix:], axis=2)
