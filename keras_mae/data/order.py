"""Which image comes at which place of an epoch."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

BLOCK = 256  # records that lie side by side
WINDOW = 32 * BLOCK  # places among which images are exchanged freely


def index_at(seed: int, epoch, places, num_images: int, storage_order: np.ndarray | None = None) -> tf.Tensor:
    """The numbers of the images at some places of an epoch, a permutation of all images for every (seed, epoch).

    Without a storage order it is a random permutation. With one, images that are near in storage stay near in time,
    as large files on network disks need it: the stored row of images, turned round to begin anywhere, is cut into
    blocks of 256; the blocks are shuffled, and then the images among each 32 blocks. Sets of up to so many images
    are shuffled freely.

    It is a formula, not a buffer: any place of any epoch costs the same.

    Args:
        seed: int.
        epoch: int64 scalar.
        places: int64 scalar or vector, in [0, num_images).
        num_images: how many there are.
        storage_order: None, or the images in the order in which they are stored, int64 `(num_images,)`.

    Returns:
        int64, shaped like `places`.
    """
    if storage_order is None or num_images <= WINDOW:
        key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
        return tf.random.experimental.index_shuffle(places, key, tf.constant(num_images - 1, tf.int64))

    def shuffled(places, number, count):
        """A permutation of `count`, another one for each `number`."""
        key = [tf.cast(part, tf.int64) * tf.ones_like(places) for part in (seed, epoch, number)]
        return tf.raw_ops.RandomIndexShuffle(
            index=places, seed=tf.stack(key, axis=-1), max_index=tf.cast(count, tf.int64) - 1, rounds=4
        )

    window = places // WINDOW
    size = tf.minimum(num_images - window * WINDOW, WINDOW)
    place = window * WINDOW + shuffled(places % WINDOW, window + 2, size)
    whole = num_images // BLOCK
    block = shuffled(tf.minimum(place // BLOCK, whole - 1), 0, whole)
    place = tf.where(place < whole * BLOCK, block * BLOCK + place % BLOCK, place)  # the rest stays at the end ...
    begin = shuffled(tf.constant(0, tf.int64), 1, num_images)  # ... and is another one in every epoch
    return tf.gather(storage_order, (place + begin) % num_images)
