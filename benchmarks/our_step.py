"""Our side of the benchmarks of the train step."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from benchmarks.sizes import SIZES, Size, images_of
from keras_mae.masking import RandomMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder, ViTEncoder
from keras_mae.optimizers import adamw
from keras_mae.targets import PixelTarget


def our_model(size: Size, dtype: str = "float32", mask_ratio: float = 0.75, mask_tokens_in_encoder: bool = False):
    """A `MaskedAutoencoder` on normalised pixels, in `float32` or `bfloat16`."""
    policy = {"dtype": {"float32": "float32", "bfloat16": "mixed_bfloat16"}[dtype]}
    sizes = (size.patch_size, size.hidden_dim, size.num_layers, size.num_heads)
    decoder = MAEDecoder(size.decoder_hidden_dim, size.decoder_num_layers, size.decoder_num_heads, **policy)
    return MaskedAutoencoder(
        ViTEncoder(size.image_shape, *sizes, **policy),
        decoder,
        RandomMasking(mask_ratio),
        PixelTarget(normalize=True),
        mask_tokens_in_encoder=mask_tokens_in_encoder,
        **policy,
    )


def our_step(
    size: str,
    dtype: str = "float32",
    jit_compile: bool | str = "auto",
    accumulation_steps: int = 1,
    rematerialize: bool = False,
    **model,
) -> Callable[[], None]:
    """The train step that `fit` takes."""
    sizes = SIZES[size]
    mae = our_model(sizes, dtype, **model)
    mae.encoder.rematerialize = mae.decoder.rematerialize = rematerialize
    mae.compile(optimizer=adamw(mae, 1e-4), jit_compile=jit_compile, accumulation_steps=accumulation_steps)
    mae.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors(images_of(sizes)).repeat())

    def turn() -> None:
        float(mae.train_function(batches)["loss"])

    return turn


def matmul(dtype: str = "float32", size: int = 1536, times: int = 8) -> Callable[[], None]:
    """`times` products of square matrices: the rate that the machine reaches."""
    matrix = tf.cast(tf.random.normal((size, size)), dtype)

    @tf.function
    def products(matrix):
        return [tf.matmul(matrix * number, matrix) for number in range(times)]

    return lambda: products(matrix)[-1].numpy()
