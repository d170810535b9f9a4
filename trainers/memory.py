"""About how much memory a training step needs."""

from __future__ import annotations

import keras

from keras_mae.models import MAEDecoder
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.trainers.config import PretrainConfig


def estimate(model: MaskedImageModel, config: PretrainConfig, replicas: int = 1) -> int:
    """Bytes on each replica, about: weights, gradients and AdamW's two moments in float32, and activations.

    For the backward pass a transformer block of width D keeps, for each of its N tokens, some 16 D numbers (norms,
    queries, keys and values and their reordered forms, residuals), the MLP's hidden layer three times (before, within
    and after GELU), and the attention's logits and probabilities, N of each for each head. A block that is
    rematerialised keeps its input (D). What TensorFlow itself takes, and its scratch space, comes on top. On
    a processor, where layers have their own gradients, the step takes less: two thirds of it where it was measured.

    Args:
        model: the model.
        config: its batch, accumulation, rematerialisation and dtype.
        replicas: how many share a batch.
    """
    trainable = sum(int(variable.shape.num_elements()) for variable in model.trainable_variables)
    weights = sum(int(variable.shape.num_elements()) for variable in model.weights)
    encoder, decoder = model.encoder, model.decoder
    every = encoder.num_patches + encoder.num_prefix_tokens
    hides = getattr(model, "mask_token", None) is None  # with a mask token, the encoder has all tokens
    parts = [(encoder, model.num_visible() + encoder.num_prefix_tokens if hides else every)]
    parts += [(decoder, every)] if isinstance(decoder, MAEDecoder) else []
    numbers = 0
    for part, tokens in parts:
        of_block = tokens * (16 * part.hidden_dim + 3 * part.mlp_dim + 2 * part.num_heads * tokens)
        if config.rematerialize:
            numbers += part.num_layers * tokens * part.hidden_dim + of_block
        else:
            numbers += part.num_layers * of_block
    images = config.batch_size // (replicas * config.accumulation_steps)
    size = 4 if keras.DTypePolicy(config.dtype_policy).compute_dtype == "float32" else 2
    return 4 * weights + 12 * trainable + images * numbers * size


def as_text(count: int) -> str:
    """Bytes for people: `12.3 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"
