"""Images that cannot be decoded: named, replaced, counted, and fatal once they are too many."""

from __future__ import annotations

import logging
from collections.abc import Callable

import tensorflow as tf

from keras_mae.data.rare_branch import rarely

_log = logging.getLogger("keras_mae")
_TOLERATED = 0.01


class CorruptImages:
    """Keeps the names of the images that could not be decoded.

    Args:
        num_images: how many images there are in all.
        name_of: the name of the image with a given index.
    """

    def __init__(self, num_images: int, name_of: Callable[[int], str]) -> None:
        self.num_images, self._name_of = num_images, name_of
        self.names: dict[int, str] = {}

    def report(self, index: int) -> None:
        """Notes, and logs once, that the image `index` is corrupt."""
        if index not in self.names:
            self.names[index] = self._name_of(index)
            _log.warning("skipped, cannot be decoded: %s", self.names[index])

    def check(self) -> None:
        """Raises ValueError if more than 1 % of all images are corrupt."""
        if len(self.names) > _TOLERATED * self.num_images:
            shown = ", ".join(list(self.names.values())[:5])
            raise ValueError(
                f"{len(self.names)} of {self.num_images} images cannot be decoded, more than the tolerated 1 %: {shown}"
                f"{', ...' if len(self.names) > 5 else ''}; remove or repair them"
            )

    def summary(self) -> str:
        """One line with the count."""
        return f"{len(self.names)} of {self.num_images} images were skipped because they cannot be decoded"


def replace_corrupt(
    dataset: tf.data.Dataset, first: int, batch_size: int, index_at: Callable, corrupt: CorruptImages
) -> tf.data.Dataset:
    """Batches without the elements that raise an error; the next good one comes in their place.

    A stream keeps its length and every element its place, so that step k means the same whatever is corrupt.

    Args:
        dataset: yields `(position, element)`, positions counting up from `first`, without an end; getting an element
            may fail.
        first: the first position.
        batch_size: elements in a batch.
        index_at: from an int64 tensor of a position to the image's index.
        corrupt: what is dropped is reported here.
    """

    def report(begin, positions) -> int:
        for position in sorted({*range(int(begin), int(positions[-1]))} - {*positions.numpy().tolist()}):
            corrupt.report(int(index_at(tf.constant(position, tf.int64))))
        return 0

    def fill(expected, numbered):
        positions, elements = numbered
        copies = positions - tf.concat([[expected - 1], positions[:-1]], axis=0)

        def repeated():
            with tf.control_dependencies([tf.py_function(report, [expected, positions], tf.int32)]):
                return tf.nest.map_structure(lambda x: tf.repeat(x, copies, axis=0), elements)

        return positions[-1] + 1, tf.cond(tf.reduce_all(copies == 1), lambda: elements, rarely(repeated))

    # batch by batch, as each operation on single images takes a part of the time that decoding one takes
    dataset = dataset.ignore_errors().batch(batch_size, drop_remainder=True)
    return dataset.scan(tf.constant(first, tf.int64), fill).rebatch(batch_size, drop_remainder=True)


def report_corrupt(dataset: tf.data.Dataset, positions: range, corrupt: CorruptImages) -> tf.data.Dataset:
    """Drops elements that raise an error, and reports them.

    Args:
        dataset: yields `(position, element)`; getting an element may fail.
        positions: what the positions are.
        corrupt: what is dropped is reported here.

    Returns:
        The elements, without their positions.
    """
    last = tf.nest.map_structure(
        lambda spec: tf.zeros([size or 0 for size in spec.shape], spec.dtype), dataset.element_spec[1]
    )
    dataset = dataset.ignore_errors().concatenate(
        tf.data.Dataset.from_tensors((tf.constant(positions.stop, tf.int64), last))
    )

    def report(begin, end) -> int:
        for position in range(int(begin), int(end), positions.step):
            if position < positions.stop:
                corrupt.report(position)
        return 0

    def count_dropped(expected, numbered):
        position, element = numbered
        report_all = lambda: tf.py_function(report, [expected, position], tf.int32)  # noqa: E731
        with tf.control_dependencies([tf.cond(position > expected, report_all, lambda: 0)]):
            return position + positions.step, (tf.identity(position), element)

    dataset = dataset.scan(tf.constant(positions.start, tf.int64), count_dropped)
    return dataset.filter(lambda position, _: position < positions.stop).map(lambda _, element: element)
