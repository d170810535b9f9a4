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
        return _shuffled(places, [seed, epoch], num_images)

    def key(number):
        return [seed, epoch * 2**32 + number]

    window = places // WINDOW
    size = tf.minimum(num_images - window * WINDOW, WINDOW)
    if places.shape.rank:
        exchanged = tf.map_fn(lambda one: _shuffled(one[0], key(one[1] + 2), one[2]), (places % WINDOW, window, size),
                              fn_output_signature=tf.int64)  # fmt: skip
    else:
        exchanged = _shuffled(places % WINDOW, key(window + 2), size)
    place = window * WINDOW + exchanged
    whole = num_images // BLOCK
    block = _shuffled(tf.minimum(place // BLOCK, whole - 1), key(0), whole)
    place = tf.where(place < whole * BLOCK, block * BLOCK + place % BLOCK, place)  # the rest stays at the end ...
    begin = _shuffled(tf.constant(0, tf.int64), key(1), num_images)  # ... and is another one in every epoch
    return tf.gather(storage_order, (place + begin) % num_images)


def _shuffled(places, key, count) -> tf.Tensor:
    key = tf.stack([tf.cast(part, tf.int64) for part in key])
    return tf.random.experimental.index_shuffle(places, key, tf.cast(count, tf.int64) - 1)
