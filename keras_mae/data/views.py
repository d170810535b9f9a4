"""Two augmented views of every image."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data.augmentation import Augmentation
from keras_mae.data.corrupt_images import CorruptImages
from keras_mae.data.guarded import RowMaker, guarded_rows, untuned
from keras_mae.data.pipeline import handed_out
from keras_mae.data.samples import look_at_some
from keras_mae.data.source import Source
from keras_mae.example_seed import ExampleSeed


def two_views(
    source: Source,
    image_shape: tuple[int, int, int],
    batch_size: int,
    augmentation: Augmentation,
    corrupt: CorruptImages,
    seed: int = 0,
) -> tf.data.Dataset:
    """Returns two views of every image, in order, the same ones in every pass.

    Args:
        source: the images.
        image_shape: `(H, W, C)` of a view.
        batch_size: images, of two views each, in a batch; the last one may be smaller.
        augmentation: draws the views.
        corrupt: the account of images that cannot be used, which are left out.
        seed: of the views.

    Returns:
        Batches of uint8 `(2 n, H, W, C)`, the two views of an image one after the other. Images of 16 bits a channel
        become float32 in [0, 255].

    Raises:
        ValueError: if none of the images looked at can be decoded.
    """
    look_at_some(source, image_shape[-1], corrupt)

    def row_at(position, example):
        views = []
        for number in range(2):
            own = ExampleSeed.of(seed, number, position)
            if source.encoded:
                view = augmentation.decode(example["image"], image_shape, own, source.dtype, source.decoding)
            else:
                view = augmentation(source.pixels(example["image"], image_shape[-1]), image_shape, own)
            views.append(view)
        return {**example, "image": tf.stack(views)}

    rows = guarded_rows(
        RowMaker(source, lambda position: position, row_at), 0, source.num_images, batch_size, replace=False
    )
    batches = handed_out(rows, corrupt, None, drop=True).rebatch(batch_size)
    flat = batches.map(lambda images: tf.reshape(images, [-1, *image_shape]))
    return untuned(flat, one_thread_each=source.encoded).prefetch(tf.data.AUTOTUNE)
