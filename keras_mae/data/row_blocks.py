"""Processes large images some rows at a time."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_mae.data.rare_branch import rarely

_VALUES = 2**24  # in a block: 64 MiB of float32


def by_row_blocks(function: Callable, image) -> tf.Tensor:
    """Returns `function(image)`; applies it to some rows at a time if float copies of the image would be large.

    The function goes from `(H, W, C)` to `(H, W', C')`, of which each row depends on the same row only.
    """
    height = tf.shape(image)[0]
    values = tf.size(image, tf.int64)

    def block_by_block():
        rows = tf.cast(tf.maximum(_VALUES // (values // tf.cast(height, tf.int64)), 1), tf.int32)
        blocks = (height + rows - 1) // rows
        results = tf.TensorArray(image.dtype, blocks, infer_shape=False, element_shape=(None, None, None))
        _, results = tf.while_loop(
            lambda block, _: block < blocks,
            lambda block, done: (block + 1, done.write(block, function(image[block * rows : (block + 1) * rows]))),
            (0, results),
            parallel_iterations=1,
        )
        return results.concat()

    return tf.cond(values <= _VALUES, lambda: function(image), rarely(block_by_block))
