"""Rows that are made of images one by one, where an image may be corrupt and its storage may fail."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_mae.data import patient_reading
from keras_mae.data.corrupt_images import CorruptImages, Fault
from keras_mae.data.patient_reading import attempt, read_again, zeros_of
from keras_mae.data.rare_branch import rarely

_CHUNK = 1024  # so many images may fail before anything is done about it
_GOOD = -1
_NO_IMAGE = "keras-mae: no image can be read and decoded, of many that follow one another"


@dataclasses.dataclass(frozen=True)
class RowMaker:
    """How a row is made for a position in a stream.

    Attributes:
        source: the images, a `Source`.
        index_at: from a position, an int64 scalar tensor, to an image's index.
        make: from a position and what is read of the image to a row; fails for an image that cannot be decoded.
    """

    source: Any
    index_at: Callable[[tf.Tensor], tf.Tensor]
    make: Callable[[tf.Tensor, Any], Any]

    @functools.cached_property
    def read_spec(self) -> Any:
        """Of what `read` returns."""
        return tf.data.Dataset.range(1).map(self.read).element_spec

    @functools.cached_property
    def _made(self) -> Any:
        """`make`, traced once for all the places that call it."""
        signature = [tf.TensorSpec((), tf.int64), self.read_spec]
        return tf.function(self.make, input_signature=signature).get_concrete_function()

    @functools.cached_property
    def row_spec(self) -> Any:
        """Of a row."""
        return tf.nest.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), self._made.structured_outputs)

    def read(self, index) -> Any:
        """What is read of an encoded image, its bytes and its label; of others, nothing but their index."""
        return self.source.read(index) if self.source.encoded else tf.identity(index)

    def row(self, position, values) -> Any:
        """The row at a position, of what was read."""
        return self._made(position, values)

    def __call__(self, position) -> Any:
        """The row at a position."""
        return self.row(position, self.read(self.index_at(position)))


def guarded_rows(maker: RowMaker, first: int, stop: int, batch_size: int, replace: bool) -> tf.data.Dataset:
    """All rows of a stream, whatever fails.

    Rows are made many at a time, and the few that fail are looked at one by one: what cannot be read is read again,
    see `read_again`; what cannot be decoded, or is missing, gets the next good image's row in its place, or zeros.
    So every row keeps its place, and a row is the same wherever the stream begins.

    Args:
        maker: makes the rows; it must give the same row for a position whenever it is called.
        first, stop: the positions are those in [first, stop).
        batch_size: rows in most of the batches.
        replace: whether the next good row takes the place of a bad one.

    Returns:
        Batches, of another size where rows failed, of `(codes, rows)`: int64 `(n,)`, see `CorruptImages.code`.
    """
    if not maker.source.encoded:  # images in memory cannot fail
        made = tf.data.Dataset.range(first, stop).map(lambda p: (p, maker(p)), tf.data.AUTOTUNE).batch(batch_size)
        return made.map(lambda positions, rows: (_no_fault(positions), rows))

    row_spec = maker.row_spec  # traced here, where AutoGraph is on, which keras-cv's operations need
    per_chunk = -(-_CHUNK // batch_size) * batch_size

    @tf.autograph.experimental.do_not_convert
    def chunk(number):
        begin = tf.maximum(number * per_chunk, first)
        end = begin + tf.minimum((number + 1) * per_chunk - begin, stop - begin)  # without an overflow
        rows = tf.data.Dataset.range(begin, end).map(lambda p: (p, maker(p)), tf.data.AUTOTUNE).ignore_errors()
        rows = rows.batch(batch_size).map(lambda positions, rows: (positions[-1] + 1, positions, rows))
        # the last batch, which is empty: all that is missing up to here has failed
        return rows.concatenate(
            tf.data.Dataset.from_tensors((end, tf.zeros([0], tf.int64), zeros_of(row_spec, rows=0)))
        )

    @tf.autograph.experimental.do_not_convert
    def fill(state, batch):
        (expected, patience), (end, positions, rows) = state, batch

        def whole():
            return (_no_fault(positions), rows), patience

        def filled():
            return _fill(maker, expected, end, positions, rows, patience, replace)

        complete = tf.equal(end - expected, tf.size(positions, tf.int64))
        result, patience = tf.cond(complete, whole, rarely(filled))
        return (end, patience), result

    chunks = tf.data.Dataset.range(first // per_chunk, -(-stop // per_chunk))
    state = (tf.constant(first, tf.int64), tf.constant(patient_reading.ALONE, tf.float32))
    return chunks.flat_map(chunk).scan(state, fill)


def _fill(maker: RowMaker, expected, end, positions, rows, patience, replace: bool):
    """A batch with the rows that failed made again, or replaced, in order; and the patience that is left."""
    failed = tf.raw_ops.ListDiff(x=tf.range(expected, end), y=positions).out

    def one(before, position):
        def next_one(place, patience, good, fault, row):
            with tf.control_dependencies(
                [tf.debugging.assert_less(place - position, tf.constant(_CHUNK, tf.int64), _NO_IMAGE)]
            ):
                patience, good, found, row = _make_again(maker, place, patience)
            return place + 1, patience, good, tf.where(place == position, found, fault), row

        begin = (position, before[0], tf.constant(False), tf.constant(_GOOD, tf.int64), zeros_of(maker.row_spec))
        _, patience, _, fault, row = tf.while_loop(
            lambda place, patience, good, fault, row: ~good, next_one, begin, maximum_iterations=None if replace else 1
        )
        code = CorruptImages.code(maker.index_at(position), fault)
        return patience, code, row

    begin = (patience, tf.constant(_GOOD, tf.int64), zeros_of(maker.row_spec))
    patiences, codes, made = tf.scan(one, failed, begin, parallel_iterations=1)
    order = tf.argsort(tf.concat([positions, failed], axis=0))
    codes = tf.gather(tf.concat([_no_fault(positions), codes], axis=0), order)
    rows = tf.nest.map_structure(lambda x, y: tf.gather(tf.concat([x, y], axis=0), order), rows, made)
    return (codes, rows), patiences[-1]


def _make_again(maker: RowMaker, position, patience):
    """The patience that is left, whether there is a row, what is or was wrong, and the row or zeros."""
    index = maker.index_at(position)
    found, values, fault, patience = read_again(maker.source, index, zeros_of(maker.read_spec), patience)

    def decode():
        good, row = attempt(lambda values: maker.row(position, values), values, zeros_of(maker.row_spec))
        return good, tf.cast(tf.where(good, Fault.LATE, Fault.UNDECODABLE), tf.int64), row

    good, fault, row = tf.cond(found, decode, lambda: (tf.constant(False), fault, zeros_of(maker.row_spec)))
    return patience, good, fault, row


def _no_fault(positions) -> tf.Tensor:
    return tf.fill(tf.shape(positions), tf.constant(_GOOD, tf.int64))
