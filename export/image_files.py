"""Image files to a batch of images inside a graph, with an error that says which file is corrupt."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mae.data.preprocessing import decode_image, evaluation_transform

_WHAT_TO_DO = "image_bytes must hold image files (JPEG, PNG, GIF, BMP, WebP); not so at these indices of the request:"


def images_of(image_bytes, image_shape: tuple[int, int, int], crop_ratio: float) -> tf.Tensor:
    """Decodes a batch of image files and puts each through the evaluation transform, in parallel.

    `tf.map_fn` would report a corrupt file without saying which one it is. Here a `tf.data` pipeline drops what
    fails, and an assertion names the indices that are missing. The assertion is part of the graph, so every runtime
    reports it: Python, TF Serving, the C API.

    Args:
        image_bytes: string `(B,)`, the files' bytes.
        image_shape: `(H, W, C)` of the result; `C` is 1 or 3.
        crop_ratio: of the evaluation transform.

    Returns:
        uint8 `(B, H, W, C)`.

    Raises:
        tf.errors.InvalidArgumentError: if a file is corrupt; the message names its index.
    """

    def decode(index, contents):
        return index, evaluation_transform(decode_image(contents, image_shape[-1]), image_shape, crop_ratio)

    count = tf.size(image_bytes, out_type=tf.int64)
    files = tf.data.Dataset.from_tensor_slices(image_bytes).enumerate()
    decoded = files.map(decode, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    # One element more, as a data set without any cannot be read: the batch may be empty, or hold no image at all.
    last = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), tf.zeros(image_shape, tf.uint8)))
    options = tf.data.Options()
    options.autotune.enabled = False  # it would start a thread for every request
    batch = decoded.concatenate(last).batch(count + 1).with_options(options)
    indices, images = batch.get_single_element()
    seen = tf.scatter_nd(indices[:-1, None], tf.ones_like(indices[:-1]), [count])
    missing = tf.where(tf.equal(seen, 0))[:, 0]
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(tf.size(missing), 0), [_WHAT_TO_DO, missing], 100)]):
        return tf.ensure_shape(images[:-1], (None, *image_shape))


def png_file(image: np.ndarray) -> bytes:
    """The PNG file of a uint8 image `(H, W, C)`, `C` 1 or 3."""
    return tf.io.encode_png(image).numpy()
