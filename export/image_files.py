"""Decodes a batch of image files inside a graph, as in evaluation; the error for a corrupt file names its index."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_mae.data.decoding import Decoding, decode_file, has_16_bits
from keras_mae.data.preprocessing import evaluation_transform, resize_at_once
from keras_mae.data.rare_branch import rarely
from keras_mae.layers import pixel_levels

_WHAT_TO_DO = (
    "image_bytes must hold image files (JPEG, PNG, BMP, GIF, WebP, TIFF); not so at these indices of the request:"
)


@functools.cache  # tracing it takes seconds, and the live model and the one that is written decode alike
def files_decoder(
    image_shape: tuple[int, int, int],
    crop_ratio: float | None,
    pixel_dtype: str = "auto",
    decoding: Decoding = Decoding(),
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function that decodes a batch of image files and applies the evaluation transform to each, in parallel.

    It goes from the files' bytes, string `(B,)`, to images `(B, H, W, C)` of the pixels' dtype; for `"auto"` float32 in
    [0, 255]. A corrupt file is a `tf.errors.InvalidArgumentError`, whose message names its index.

    `tf.map_fn` would report a corrupt file without its index. Here a `tf.data` pipeline drops files that fail, and an
    assertion names the missing indices. The assertion is part of the graph, so every runtime reports it: Python, TF
    Serving, the C API.

    Args:
        image_shape: `(H, W, C)` of the images; `C` is 1 or 3.
        crop_ratio: of the evaluation transform; None to resize whole images to that size, whatever their aspect ratio.
        pixel_dtype: of decoding and resizing: `"uint8"` or `"uint16"` for every file, as in a source of this dtype; or
            `"auto"`: uint16 for a file of 16 bits a channel, uint8 for another.
        decoding: the limit on an image's pixels, and the background of transparent ones.
    """

    def transformed(contents, dtype: str) -> tf.Tensor:
        image = decode_file(contents, image_shape[-1], dtype, decoding)
        if crop_ratio is None:
            return tf.ensure_shape(resize_at_once(image, image_shape[:2]), image_shape)
        return evaluation_transform(image, image_shape, crop_ratio)

    def decode(index, contents):
        if pixel_dtype != "auto":
            return index, transformed(contents, pixel_dtype)
        return index, tf.cond(
            has_16_bits(contents),
            rarely(lambda: pixel_levels(transformed(contents, "uint16"))),
            lambda: pixel_levels(transformed(contents, "uint8")),
        )

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)], autograph=False)
    def images_of(image_bytes):
        count = tf.size(image_bytes, out_type=tf.int64)
        files = tf.data.Dataset.from_tensor_slices(image_bytes).enumerate()
        decoded = files.map(decode, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
        # One element more: `get_single_element` needs one also if the batch is empty, or holds no image
        blank = tf.zeros(image_shape, decoded.element_spec[1].dtype)
        last = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), blank))
        options = tf.data.Options()
        options.autotune.enabled = False  # autotuning would start a thread for every request
        batch = decoded.concatenate(last).batch(count + 1).with_options(options)
        indices, images = batch.get_single_element()
        seen = tf.scatter_nd(indices[:-1, None], tf.ones_like(indices[:-1]), [count])
        missing = tf.where(tf.equal(seen, 0))[:, 0]
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(tf.size(missing), 0), [_WHAT_TO_DO, missing], 100)]):
            return tf.ensure_shape(images[:-1], (None, *image_shape))

    return images_of


def png_files(images: np.ndarray, pixel_dtype: str) -> np.ndarray:
    """Images `(N, H, W, C)`, `C` 1 or 3, as PNG files of their own depth; for `"auto"` of both depths in turn."""
    deeper = [pixel_dtype == "auto" and number % 2 == 1 for number in range(len(images))]
    pixels = [in_dtype(image, "uint16") if deep else image for image, deep in zip(images, deeper)]
    return np.array([tf.io.encode_png(image).numpy() for image in pixels], object)


def in_dtype(images: np.ndarray, dtype: str) -> np.ndarray:
    """Converts images between uint8 (0 to 255) and uint16 (0 to 65535); a `ValueError` for other dtypes."""
    if images.dtype not in ("uint8", "uint16"):
        raise ValueError(f"images to check an export with are uint8 or uint16, got {images.dtype}")
    if images.dtype == dtype:
        return images
    return images.astype("uint16") * 257 if dtype == "uint16" else np.round(images / 257).astype("uint8")
