"""Reads files from a storage that may fail for a while: in a graph, with back-off, within bounds."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import tensorflow as tf

from keras_mae.data.corrupt_images import Fault
from keras_mae.data.source import Source

# Seconds to wait in all (1, 2, 4, ...) before the stream ends with an error, if nothing can be read of the storage; and
# before single files of a storage that works are skipped.
OUTAGE, ALONE = 127.0, 31.0
FIRST_DELAY = 1.0
_GONE = "the storage fails: cannot read"
_NEIGHBOURS = 4  # files that are read to learn whether the storage works
# Errors of a storage that may come back; any other one is about the file itself, such as that it is missing.
_PASSING = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EREMOTEIO, errno.ENOTCONN),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNRESET, errno.ECONNREFUSED),
}
_PASSING_IN_TENSORFLOW = (
    *(tf.errors.UnknownError, tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError),
    *(tf.errors.InternalError, tf.errors.ResourceExhaustedError),
)
_log = logging.getLogger("keras_mae")
_T = TypeVar("_T")


def zeros_of(spec: Any, rows: int | None = None) -> Any:
    """Returns zeros, or empty strings, of the structure of a `tf.TypeSpec`; with a first axis of `rows`, if given."""

    def zeros(one: tf.TensorSpec) -> tf.Tensor:
        shape = [size or 0 for size in one.shape]
        return tf.zeros(shape if rows is None else [rows, *shape], one.dtype)

    return tf.nest.map_structure(zeros, spec)


def read_again(source: Source, index, zeros: Any, patience) -> tuple[tf.Tensor, Any, tf.Tensor, tf.Tensor]:
    """Reads an image that could not be read at once; waits, twice as long each time, while that may help.

    If other files can be read, a missing file is given up at once, and one that is there is tried until `patience` is
    used up: all files of a stream share it, and get it back when waiting has helped. If nothing can be read, the
    storage itself fails, and is waited for once.

    Args:
        source: encoded images.
        index: int64 scalar.
        zeros: in the structure that `source.read` returns.
        patience: float32 scalar, in seconds.

    Returns:
        Whether the image was read, a bool scalar; what `source.read` returns, or zeros; the `Fault` of an image that
        was not read, int64; and the patience that is left, negative if the storage itself did not come back.
    """

    @functools.partial(tf.function, autograph=False)
    def read(index):
        worked = tf.data.Dataset.from_tensors(index).map(lambda one: (True, source.read(one))).ignore_errors()
        return worked.concatenate(tf.data.Dataset.from_tensors((False, zeros))).take(1).get_single_element()

    def storage_works() -> tf.Tensor:
        count = source.num_images
        step = max(1, count // (_NEIGHBOURS + 1))

        def another(number, works):
            return number + 1, read((index + number * step) % count)[0]

        if count == 1:
            return tf.constant(False)
        asked = min(_NEIGHBOURS, count - 1)
        begin = (tf.constant(1, tf.int64), tf.constant(False))
        return tf.while_loop(lambda number, works: (number <= asked) & ~works, another, begin)[1]

    def once_more(found, values, fault, patience, waited, go_on):
        there, works, damaged = exists(name), storage_works(), source.damaged(index)
        fault = tf.where(damaged, Fault.UNDECODABLE, tf.where(there, Fault.UNREADABLE, Fault.MISSING))
        delay = waited + FIRST_DELAY  # 1, 2, 4, ...: one more than the sum of those before
        left = tf.where(works, tf.where(there, patience, 0.0), OUTAGE - waited)
        go_on = (delay <= left) & ~damaged & (patience >= 0)

        def again():
            seconds = tf.strings.as_string(delay, precision=1)
            told = tf.print("\nkeras-mae: cannot read", name, "- next try in", seconds, "s", output_stream=sys.stderr)
            with tf.control_dependencies([told]):
                slept = _sleep(delay)
            with tf.control_dependencies([slept]):
                return read(tf.identity(index))

        def give_up():
            return tf.constant(False), tf.nest.map_structure(tf.identity, zeros)

        found, values = tf.cond(go_on, again, give_up)
        spent = tf.where(works & go_on, patience - delay, tf.where(works | damaged | go_on, patience, -1.0))
        patience = tf.where(found, tf.maximum(spent, ALONE), spent)
        waited = tf.where(go_on, waited + delay, waited)
        return found, values, tf.cast(fault, tf.int64), patience, waited, go_on & ~found

    name = source.path_at(index)
    found, values = read(index)
    begin = (found, values, tf.constant(int(Fault.UNREADABLE), tf.int64), patience, tf.constant(0.0), ~found)
    return tf.while_loop(lambda *state: state[-1], once_more, begin, parallel_iterations=1)[:4]


def patiently(function: Callable[[], _T], name: str) -> _T:
    """Calls a function that reads a storage outside a graph; waits and calls it again while that may help.

    Args:
        function: a function that may be called several times.
        name: of the file or folder, for messages.

    Raises:
        OSError: if the storage does not come back in time.
        Exception: other errors of the function, such as that there is no such file.
    """
    waited = 0.0
    while True:
        try:
            return function()
        except (OSError, tf.errors.OpError) as error:
            if not passing(error):
                raise
            delay = waited + FIRST_DELAY
            if delay > OUTAGE - waited:
                raise _gone(name) from error
        _log.warning("cannot read %s - next try in %g s", name, delay)
        time.sleep(delay)
        waited += delay


def passing(error: Exception | None) -> bool:
    """Returns whether an error is one of a storage that may come back, and not of a file."""
    return isinstance(error, _PASSING_IN_TENSORFLOW) or getattr(error, "errno", None) in _PASSING


def is_there(path: str) -> bool:
    """Returns whether there is such a file or folder; unlike `tf.io.gfile.exists`, waits, see `patiently`."""

    def asked() -> bool:
        try:
            tf.io.gfile.stat(path)
        except tf.errors.OpError as error:
            if passing(error):
                raise
            return tf.io.gfile.exists(path)
        return True

    return patiently(asked, path)


def exists(path) -> tf.Tensor:
    """Returns, in a graph, whether there is such a file."""
    # a pattern without a wildcard is looked up without listing a folder
    return tf.size(tf.io.matching_files(tf.strings.regex_replace(path, r"([*?\[\]\\])", r"\\\1"))) > 0


def still_there(source: Source, index) -> tf.Operation:
    """Ends a stream with the error that `storage_errors` knows, if `index` is an image's and not negative."""
    return tf.Assert(index < 0, [_GONE, source.path_at(tf.maximum(index, 0))])


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Turns the error that ends a data set when the storage fails into an OSError of one line."""
    try:
        yield
    except tf.errors.OpError as error:
        match = re.search(rf"{_GONE}.*? \[(.*?)\]", error.message)
        if match is None:
            raise
        raise _gone(match[1]) from error


def _gone(name: str) -> OSError:
    return OSError(f"{_GONE} {name}; it did not come back within {OUTAGE:.0f} seconds")


def _sleep(seconds) -> tf.Tensor:
    one = tf.data.experimental.to_variant(tf.data.Dataset.range(1))
    slow = tf.raw_ops.SleepDataset(
        input_dataset=one,
        sleep_microseconds=tf.cast(seconds * 1e6, tf.int64),
        output_types=[tf.int64],
        output_shapes=[tf.TensorShape(())],
    )
    return tf.data.experimental.from_variant(slow, tf.TensorSpec((), tf.int64)).get_single_element()
