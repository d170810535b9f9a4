"""Images to flattened patches and back."""

from __future__ import annotations

import numbers
from typing import Any

import keras
import tensorflow as tf

from keras_mae.layers.kernels import with_kernel


def as_pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """A pair (rows, columns) of positive integers, from `16` or `(16, 8)`."""
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or any(not isinstance(side, int) or side < 1 for side in pair):
        raise ValueError(f"a patch size is a positive integer or a pair of them (height, width), got {size!r}")
    return pair


def check_sizes(**sizes: Any) -> None:
    """Raises a ValueError that names the first size that is not a positive integer."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"{name} is a positive integer, got {size!r}")


def patch_grid(image_shape: tuple[int, int, int], patch_size: int | tuple[int, int]) -> tuple[int, int]:
    """The number of patch rows and columns of an image.

    Raises:
        ValueError: if the image's height or width is not divisible by the patch's.
    """
    (height, width), (patch_height, patch_width) = image_shape[:2], as_pair(patch_size)
    check_sizes(**{"the image's height": height, "the image's width": width})
    if height % patch_height or width % patch_width:
        near = [max(patch, size // patch * patch) for size, patch in zip(image_shape, as_pair(patch_size))]
        raise ValueError(
            f"the image size must be divisible by the patch size: got images of {height} x {width} and patches of "
            f"{patch_height} x {patch_width} pixels; resize or crop the images, for instance to {near[0]} x {near[1]}"
        )
    return height // patch_height, width // patch_width


def refuse_quantization(name: str) -> None:
    """Raises a ValueError: Keras would save the model in a file that it cannot load."""
    raise ValueError(
        f"a model with {name} cannot be quantized in place, as its file could not be loaded again: export it by "
        "keras_mae.export with dtype='int8'; or with format='litert' or 'onnx', and quantize that file with the tools "
        "of its format"
    )


@keras.saving.register_keras_serializable(package="keras_mae")
class Patchify(keras.layers.Layer):
    """Cuts images into a sequence of flattened, non-overlapping patches, row by row.

    Inside a patch the values are in the order row, column, channel, as in MAE's pixel targets.

    Args:
        patch_size: int, or a pair (height, width), in pixels.

    Call arguments:
        images: tensor `(B, H, W, C)` of any dtype; `H` and `W` divisible by the patch size.

    Returns:
        Tensor `(B, L, patch_height * patch_width * C)` of the same dtype, `L = (H / patch_height)(W / patch_width)`.
    """

    compute_output_spec = keras.Operation.compute_output_spec  # traces `call`, so that the dtype is right

    def __init__(self, patch_size: int | tuple[int, int], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.patch_size = as_pair(patch_size)

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Raises a ValueError, also for models around an encoder: every encoder has a `Patchify`."""
        refuse_quantization(self.name)

    def call(self, images):
        _, height, width, channels = images.shape
        rows, columns = patch_grid((height, width, channels), self.patch_size)
        ph, pw = self.patch_size
        x = tf.reshape(images, [-1, rows, ph, columns, pw, channels])
        x = tf.transpose(x, [0, 1, 3, 2, 4, 5])  # (B, rows, columns, ph, pw, C)
        return tf.reshape(x, [-1, rows * columns, ph * pw * channels])

    def compute_output_shape(self, input_shape) -> tuple:
        batch, height, width, channels = input_shape
        rows, columns = patch_grid((height, width, channels), self.patch_size)
        ph, pw = self.patch_size
        return (batch, rows * columns, ph * pw * channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "patch_size": self.patch_size}


@with_kernel("take_patches")
def take_patches(patches, ids) -> tf.Tensor:
    """Takes some patches of each image, as `tf.gather(patches, ids, batch_dims=1)` does.

    TensorFlow gathers integers of 8 and 16 bits on the host, also where the images are on a GPU. Here four bytes are
    gathered as one int32, which GPUs do; a patch whose bytes are no multiple of four is gathered in a wider dtype.

    Args:
        patches: `(B, L, n)` of any dtype; `L` and `n` are static.
        ids: int `(B, K)`.

    Returns:
        `(B, K, n)` in the dtype of the patches, equal to the bit.
    """
    patches, ids = tf.convert_to_tensor(patches), tf.convert_to_tensor(ids)
    dtype, (_, length, width) = patches.dtype, patches.shape
    if not dtype.is_integer or dtype.size > 2:
        return tf.gather(patches, ids, batch_dims=1)
    in_word = 4 // dtype.size
    if width % in_word:
        wider = tf.float16 if dtype.size == 1 else tf.int32  # both hold every value
        return tf.cast(tf.gather(tf.cast(patches, wider), ids, batch_dims=1), dtype)
    words = tf.bitcast(tf.reshape(patches, [-1, length, width // in_word, in_word]), tf.int32)
    taken = tf.bitcast(tf.gather(words, ids, batch_dims=1), dtype)  # (B, K, n / in_word, in_word)
    return tf.reshape(taken, [-1, tf.shape(ids)[1] if ids.shape[1] is None else ids.shape[1], width])


def unpatchify(patches, image_shape: tuple[int, int, int], patch_size: int | tuple[int, int]) -> tf.Tensor:
    """The inverse of `Patchify`: `(B, L, ph * pw * C)` to images `(B, H, W, C)`.

    Args:
        patches: tensor `(B, L, ph * pw * C)`.
        image_shape: `(H, W, C)`.
        patch_size: int, or a pair (height, width), in pixels.
    """
    height, width, channels = image_shape
    rows, columns = patch_grid(image_shape, patch_size)
    ph, pw = as_pair(patch_size)
    x = tf.reshape(patches, [-1, rows, columns, ph, pw, channels])
    x = tf.transpose(x, [0, 1, 3, 2, 4, 5])  # (B, rows, ph, columns, pw, C)
    return tf.reshape(x, [-1, height, width, channels])
