"""Mean and standard deviation of a set's pixels."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import tensorflow as tf

from keras_mae.data.corrupt_images import CorruptImages, without_faults
from keras_mae.data.guarded import RowMaker, guarded_rows, untuned
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.samples import with_reason
from keras_mae.data.source import Source
from keras_mae.data.subset import random_subset
from keras_mae.data.writing import writing

_PIXELS = 2**21  # that are summed at once
_TOGETHER = 64


@dataclasses.dataclass(frozen=True)
class PixelStats:
    """Mean and standard deviation of some images' pixels.

    Attributes:
        mean, std: a number for each channel, in units of the largest level, as in `PretrainConfig`.
        num_images: the number of images that were measured.
        dtype: of the pixels, `"uint8"` or `"uint16"`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_images: int
    dtype: str

    def write(self, path: str) -> None:
        """Writes a JSON file; raises OSError if it cannot."""
        with writing(path), tf.io.gfile.GFile(path, "w") as file:
            file.write(json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def measure_stats(source: Source, channels: int, count: int = 1000) -> PixelStats:
    """Measures mean and standard deviation of each channel over the pixels of a random sample of whole images.

    Every image has the same weight, whatever its size. The sample is always the same.

    Args:
        source: the images.
        channels: the number of channels to decode to.
        count: the number of images to measure; all if there are fewer.

    Raises:
        ValueError: if no image can be decoded, or more than 1 % of the sample cannot, or a channel is the same in every
            pixel.
    """
    if not source.encoded:
        source.pixels(source.read(0)["image"], channels)  # refuses other channels before a graph does
    chosen = random_subset(source, count)
    corrupt = CorruptImages(chosen)

    def moments(position, example):
        image = source.pixels(example["image"], channels)
        # some rows at a time: a copy in float64 takes eight times the memory
        rows = tf.maximum(_PIXELS // tf.shape(image)[1], 1)

        def add(begin, sums):
            levels = tf.cast(image[begin : begin + rows], tf.float64) / np.iinfo(source.dtype).max
            return begin + rows, sums + tf.stack([tf.reduce_sum(levels, [0, 1]), tf.reduce_sum(levels**2, [0, 1])])

        nothing = tf.zeros((2, channels), tf.float64)
        sums = tf.while_loop(lambda begin, _: begin < tf.shape(image)[0], add, (0, nothing), parallel_iterations=1)[1]
        return {"moments": sums / tf.cast(tf.reduce_prod(tf.shape(image)[:2]), tf.float64)}

    maker = RowMaker(chosen, lambda position: position, moments)
    rows = guarded_rows(maker, 0, chosen.num_images, _TOGETHER, replace=False)
    rows = untuned(rows.map(lambda batch: without_faults(batch, corrupt, drop=True)))
    with storage_errors():
        found = np.concatenate([batch["moments"] for batch in rows.as_numpy_iterator()])
    if not len(found):
        skipped = corrupt.names
        such_as = with_reason(chosen, min(skipped), channels)
        raise ValueError(f"none of the {len(skipped)} images looked at can be decoded, such as {such_as}")
    corrupt.check()
    mean, square = found.mean(axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    if (std < 1e-4).any():
        flat = f"channel {int(std.argmin())} has the same level everywhere, in all {len(found)} images looked at"
        raise ValueError(f"{flat}: it cannot be normalised; leave it out of the images")
    rounded = [tuple(round(float(value), 5) for value in values) for values in (mean, std)]
    return PixelStats(rounded[0], rounded[1], len(found), source.dtype)


def read_stats(path: str) -> PixelStats:
    """Reads the file of `PixelStats.write`; raises ValueError if it is missing or holds something else."""
    try:
        with tf.io.gfile.GFile(path) as file:
            record = json.loads(file.read())
        return PixelStats(tuple(record["mean"]), tuple(record["std"]), record["num_images"], record["dtype"])
    except (tf.errors.OpError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file that keras-mae stats has written ({error})") from error
