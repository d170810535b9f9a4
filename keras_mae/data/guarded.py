"""Rows that are made of one image each, where an image may be corrupt and its storage may fail."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_mae.data import patient_reading
from keras_mae.data.corrupt_images import CorruptImages, Fault, usable
from keras_mae.data.patient_reading import read_again, still_there, zeros_of
from keras_mae.data.rare_branch import rarely

_CHUNK = 1024  # images that may fail before they are read again
_GOOD = -1  # the code of an image without a fault
_MARK = -2  # the code of a mark between images, which cannot fail
_AWAY = -3  # minus an image's index: the code if the storage failed and did not come back
_NO_IMAGE = "keras-mae: no image can be read and decoded, of many that follow one another"


@dataclasses.dataclass(frozen=True)
class RowMaker:
    """Makes the row for a position in a stream.

    Attributes:
        source: the images, a `Source`.
        index_at: a function from a position, an int64 scalar tensor, to an image's index.
        make: a function from a position and the fields of `Source.read` to the fields of a row; fails for an image
            that cannot be decoded.
    """

    source: Any
    index_at: Callable[[tf.Tensor], tf.Tensor]
    make: Callable[[tf.Tensor, Any], Any]

    @functools.cached_property
    def read_spec(self) -> Any:
        """The structure that `Source.read` returns."""
        return tf.data.Dataset.range(1).map(self.source.read).element_spec

    @functools.cached_property
    def row(self) -> Any:
        """`make`, traced once, with AutoGraph, which keras-cv's operations need."""
        signature = [tf.TensorSpec((), tf.int64), self.read_spec]
        return tf.function(self.make, input_signature=signature).get_concrete_function()

    @functools.cached_property
    def row_spec(self) -> Any:
        """The structure of a row."""
        return tf.nest.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), self.row.structured_outputs)


def guarded_rows(maker: RowMaker, first: int, stop: int, batch_size: int, replace: bool) -> tf.data.Dataset:
    """Returns all rows of a stream, though some fail.

    Many rows are made at a time, and missing ones are those that failed: the next good row, or zeros, take their place.
    So every row keeps its position, and is the same wherever the stream begins. If the storage fails and does not come
    back, the stream ends with the error of `storage_errors`.

    Args:
        maker: makes the rows; it must make the same row for a position whenever it is called.
        first, stop: the positions are those in [first, stop).
        batch_size: rows in a batch in which none failed.
        replace: whether the next good row takes the place of a bad one.

    Returns:
        Batches of the fields of n rows and of their `fault`, int64 `(n,)`, see `CorruptImages.code`, which images in
        memory lack.
    """
    if not maker.source.encoded:  # images in memory cannot fail

        def row_at(position):
            return maker.row(position, maker.source.read(maker.index_at(position)))

        return tf.data.Dataset.range(first, stop).map(row_at, tf.data.AUTOTUNE).batch(batch_size)

    row_spec = maker.row_spec

    def with_mark(end, codes, values):
        """Returns the end of each position, its code and what was read; and a mark with the end of all."""
        ends = tf.range(end - tf.size(codes, tf.int64), end) + 1
        more = (end[None], tf.constant([_MARK], tf.int64), zeros_of(maker.read_spec, rows=1))
        return tf.nest.map_structure(lambda x, y: tf.concat([x, y], axis=0), (ends, codes, values), more)

    def row(end, code, values):
        return end, code, tf.cond(_has_row(code), lambda: maker.row(end - 1, values), lambda: zeros_of(row_spec))

    def fill(state, batch):
        (begin, waiting), (ends, codes, rows) = state, batch

        def whole():
            return (ends[-1], waiting), tf.nest.map_structure(lambda x: x[:-1], {**rows, "fault": codes})

        def filled():
            with tf.control_dependencies([_storage_is_there(maker.source, codes)]):
                return _fill(maker, begin, waiting, ends, tf.identity(codes), rows, replace)

        complete = tf.equal(begin + tf.size(codes, tf.int64), ends[-1] + 1) & tf.equal(codes[-1], _MARK)
        complete &= tf.reduce_all(codes[:-1] == _GOOD) & tf.equal(tf.size(waiting), 0)
        return tf.cond(complete, whole, rarely(filled))

    reads = _reads(maker.source, maker.index_at, first, stop, batch_size, maker.read_spec)
    reads = reads.filter(lambda end, codes, values: tf.size(codes) > 0).map(with_mark).prefetch(1)
    rows = reads.unbatch().map(row, tf.data.AUTOTUNE).ignore_errors().batch(batch_size + 1)
    return _scan(rows, (tf.constant(first, tf.int64), tf.zeros([0], tf.int64)), fill)


def guarded_reads(source: Any, index_at: Callable, first: int, stop: int, batch_size: int) -> tf.data.Dataset:
    """Returns the fields of encoded images, undecoded, or zeros for images that `read_again` cannot read.

    Args:
        source, index_at: as in `RowMaker`.
        first, stop, batch_size: as in `guarded_rows`.

    Returns:
        Batches of the fields that `Source.read` returns, and of `fault`: int64 `(n,)`, see `CorruptImages.code`. The
        stream ends with the error of `storage_errors` if the storage fails and does not come back.
    """

    def checked(end, codes, values):
        with tf.control_dependencies([_storage_is_there(source, codes)]):
            return {**values, "fault": tf.identity(codes)}

    spec = tf.data.Dataset.range(1).map(source.read).element_spec
    return _reads(source, index_at, first, stop, batch_size, spec).map(checked)


def _reads(source: Any, index_at: Callable, first: int, stop: int, batch_size: int, spec: Any) -> tf.data.Dataset:
    """Returns batches of the position after each batch, codes (see `_AWAY`), and the fields that were read."""
    per_chunk = -(-_CHUNK // batch_size) * batch_size

    @tf.autograph.experimental.do_not_convert
    def chunk(number):
        begin = tf.maximum(number * per_chunk, first)
        end = begin + tf.minimum((number + 1) * per_chunk - begin, stop - begin)  # without an overflow
        reads = tf.data.Dataset.range(begin, end).map(lambda p: (p, source.read(index_at(p))), tf.data.AUTOTUNE)
        reads = reads.ignore_errors().batch(batch_size)
        reads = reads.map(lambda positions, values: (positions[-1] + 1, positions, values))
        # the last batch is empty: the images missing before its end have failed
        return reads.concatenate(tf.data.Dataset.from_tensors((end, tf.zeros([0], tf.int64), zeros_of(spec, rows=0))))

    @tf.autograph.experimental.do_not_convert
    def fill(state, batch):
        (expected, patience), (end, positions, values) = state, batch

        def whole():
            return (end, _no_fault(positions), values), patience

        def filled():
            failed = tf.raw_ops.ListDiff(x=tf.range(expected, end), y=positions).out
            codes, found, left = _read_late(source, index_at, failed, patience, zeros_of(spec))
            order = tf.argsort(tf.concat([positions, failed], axis=0))
            codes = tf.gather(tf.concat([_no_fault(positions), codes], axis=0), order)
            both = tf.nest.map_structure(lambda x, y: tf.gather(tf.concat([x, y], axis=0), order), values, found)
            return (end, codes, both), left

        complete = tf.equal(end - expected, tf.size(positions, tf.int64))
        result, patience = tf.cond(complete, whole, rarely(filled))
        return (end, patience), result

    chunks = tf.data.Dataset.range(first // per_chunk, -(-stop // per_chunk)).flat_map(chunk)
    state = (tf.constant(first, tf.int64), tf.constant(patient_reading.ALONE, tf.float32))
    return _scan(chunks, state, fill)


def _read_late(source: Any, index_at: Callable, positions, patience, zeros: Any):
    """Returns codes and values of images that could not be read at once, and the patience that is left."""

    def one(before, position):
        index = index_at(position)
        found, values, fault, left = read_again(source, index, zeros, before[0])
        code = CorruptImages.code(index, tf.where(found, tf.constant(int(Fault.LATE), tf.int64), fault))
        return left, tf.where(left < 0, _AWAY - index, code), values

    begin = (patience, tf.constant(_GOOD, tf.int64), zeros)
    patiences, codes, values = tf.scan(one, positions, begin, parallel_iterations=1)
    return codes, values, patiences[-1]


def _fill(maker: RowMaker, begin, waiting, ends, codes, rows, replace: bool):
    """Returns the rows from `begin` on, of which some are missing.

    Args:
        maker: makes the rows.
        begin: the first position without a row.
        waiting: the codes of the positions from `begin` on that wait for the next good row: int64 `(m,)`.
        ends, codes, rows: of the following positions that did not fail, and of marks.
        replace: whether missing rows wait for the next good one.

    Returns:
        `(begin, waiting)` for the next batch, and the rows with their `fault`.
    """
    stop = ends[-1]
    with_code = tf.where(codes != _MARK)[:, 0]
    found = tf.fill([stop - begin - tf.size(waiting, tf.int64)], tf.constant(_MARK, tf.int64))
    all_codes = tf.tensor_scatter_nd_update(
        tf.concat([waiting, found], axis=0),
        tf.gather(ends, with_code)[:, None] - 1 - begin,
        tf.gather(codes, with_code),
    )
    failed = tf.where(all_codes == _MARK)
    indices = tf.map_fn(maker.index_at, begin + failed[:, 0])
    all_codes = tf.tensor_scatter_nd_update(all_codes, failed, CorruptImages.code(indices, Fault.UNDECODABLE))

    with_row = tf.where(_has_row(codes))[:, 0]
    row_ends = tf.gather(ends, with_row)
    if replace:
        stop = tf.concat([begin[None], row_ends], axis=0)[-1]
    count = stop - begin
    positions = tf.range(begin, stop)
    number = tf.searchsorted(row_ends, positions, side="right", out_type=tf.int64)  # of the next row that is good
    if not replace:
        number = tf.where(usable(all_codes), number, tf.size(row_ends, tf.int64))  # the zeros that follow the rows
    rows = tf.nest.map_structure(
        lambda x, zero: tf.gather(tf.concat([tf.gather(x, with_row), zero], axis=0), number),
        rows,
        zeros_of(maker.row_spec, rows=1),
    )
    bounded = tf.debugging.assert_less(tf.size(all_codes, tf.int64) - count, tf.constant(_CHUNK, tf.int64), _NO_IMAGE)
    with tf.control_dependencies([bounded] if replace else []):
        return (stop, tf.identity(all_codes[count:])), {**rows, "fault": all_codes[:count]}


def untuned(dataset: tf.data.Dataset, one_thread_each: bool = False) -> tf.data.Dataset:
    """Returns the data set without tf.data's tuner, in order: one element a core at a time, at most 16.

    The tuner sleeps up to a minute at a time, and the end of an iterator waits until it wakes. With `one_thread_each`,
    one thread makes each element, while many are made at a time.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    if one_thread_each:
        options.threading.max_intra_op_parallelism = 1
    return dataset.with_options(options)


def _scan(dataset: tf.data.Dataset, state: Any, function: Callable) -> tf.data.Dataset:
    """Calls `dataset.scan` in another data set's function: outside of one, TF 2.21 keeps the function for ever."""
    function = tf.autograph.experimental.do_not_convert(function)
    return tf.data.Dataset.range(1).flat_map(lambda _: dataset.scan(state, function))


def _storage_is_there(source: Any, codes) -> tf.Operation:
    away = _AWAY - tf.boolean_mask(codes, codes <= _AWAY)
    return still_there(source, tf.concat([away, tf.constant([-1], tf.int64)], axis=0)[0])


def _has_row(codes) -> tf.Tensor:
    return usable(codes) & (codes >= _GOOD)


def _no_fault(positions) -> tf.Tensor:
    return tf.fill(tf.shape(positions), tf.constant(_GOOD, tf.int64))
