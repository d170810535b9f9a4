"""Our side of the benchmarks of the train step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from benchmarks.sizes import SIZES, Size, images_of
from keras_mae.decoders import CrossDecoder, Decoder, MAEDecoder
from keras_mae.masking import RandomMasking, UnitMasking
from keras_mae.models import MaskedAutoencoder, SimMIM, ViTEncoder
from keras_mae.optimizers import adamw
from keras_mae.targets import PixelTarget


def our_model(
    size: Size,
    dtype: str = "float32",
    mask_ratio: float = 0.75,
    mask_tokens_in_encoder: bool = False,
    decoder: str = "transformer",
    encoder_layers: Sequence[int] | None = None,
    predict_ratio: float = 1.0,
):
    """A `MaskedAutoencoder` on normalised pixels, in `float32` or `bfloat16`; its decoder `transformer` or `cross`."""
    policy = {"dtype": {"float32": "float32", "bfloat16": "mixed_bfloat16"}[dtype]}
    sizes = (size.patch_size, size.hidden_dim, size.num_layers, size.num_heads)
    return MaskedAutoencoder(
        ViTEncoder(size.image_shape, *sizes, num_cls_tokens=size.num_cls_tokens, **policy),
        _decoder(size, decoder, encoder_layers, policy),
        RandomMasking(mask_ratio),
        PixelTarget(normalize=True),
        mask_tokens_in_encoder=mask_tokens_in_encoder,
        predict_ratio=predict_ratio,
        **policy,
    )


def our_simmim(size: Size, dtype: str = "float32") -> SimMIM:
    """A `SimMIM` with the published ViT, in `float32` or `bfloat16`."""
    policy = {"dtype": {"float32": "float32", "bfloat16": "mixed_bfloat16"}[dtype]}
    sizes = (size.patch_size, size.hidden_dim, size.num_layers, size.num_heads)
    published = {"position_embedding": None, "relative_position_bias": "shared", "layer_scale": 0.1}
    encoder = ViTEncoder(size.image_shape, *sizes, **published, **policy)
    return SimMIM(encoder, UnitMasking(2 * size.patch_size, 0.6), PixelTarget(), **policy)


def _decoder(size: Size, kind: str, encoder_layers: Sequence[int] | None, policy: Mapping[str, str]) -> Decoder:
    sizes = (size.decoder_hidden_dim, size.decoder_num_layers, size.decoder_num_heads)
    if kind == "cross":
        return CrossDecoder(*sizes, encoder_layers=encoder_layers, **policy)
    if kind != "transformer" or encoder_layers is not None:
        raise ValueError(f"a decoder is transformer, or cross, which may have encoder_layers; got {kind!r}")
    return MAEDecoder(*sizes, **policy)


def our_step(
    size: str,
    dtype: str = "float32",
    jit_compile: bool | str = "auto",
    accumulation_steps: int = 1,
    rematerialize: bool = False,
    changes: Mapping[str, Any] | None = None,
    method: str = "mae",
    num_steps: int = 1,
    **model,
) -> Callable[[], None]:
    """The train step that `fit` takes, of a model of this size, with `changes` of its fields.

    Args:
        size: a name in `SIZES`.
        dtype, **model: see `our_model`.
        jit_compile, accumulation_steps: of `compile`.
        rematerialize: of encoder and decoder.
        changes: of the size's fields.
        method: `mae`, or `simmim`, which takes no `model`.
        num_steps: how many steps are a turn.
    """
    sizes = dataclasses.replace(SIZES[size], **(changes or {}))
    mae = our_simmim(sizes, dtype) if method == "simmim" else our_model(sizes, dtype, **model)
    mae.encoder.rematerialize = mae.decoder.rematerialize = rematerialize
    mae.compile(optimizer=adamw(mae, 1e-4), jit_compile=jit_compile, accumulation_steps=accumulation_steps)
    mae.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors(images_of(sizes)).repeat())

    def turn() -> None:
        for _ in range(num_steps):
            loss = mae.train_function(batches)["loss"]
        float(loss)  # waits for all of it

    if tf.config.list_logical_devices("GPU"):
        turn.peak_bytes = lambda: tf.config.experimental.get_memory_info("GPU:0")["peak"]  # type: ignore[attr-defined]
    return turn


def matmul(dtype: str = "float32", size: int = 1536, times: int = 8) -> Callable[[], None]:
    """`times` products of square matrices: the rate that the machine reaches."""
    matrix = tf.cast(tf.random.normal((size, size)), dtype)

    @tf.function
    def products(matrix):
        return [tf.matmul(matrix * number, matrix) for number in range(times)]

    return lambda: products(matrix)[-1].numpy()
