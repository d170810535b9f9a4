"""The time that training waits for its batches."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data.guarded import untuned


class Waiting:
    """Adds up the time between the request for a batch and its delivery.

    It is measured in the data set, behind its last buffer: a batch that is ready there is delivered at once. If the
    caller waits for each step to end before it asks for the next batch, as Keras' `fit` does with callbacks that look
    at every step, the device is idle for this time.
    """

    def __init__(self) -> None:
        with tf.init_scope(), tf.device("CPU"):
            self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    @classmethod
    def if_possible(cls) -> Waiting | None:
        """A new one; None with `tf.config.experimental.enable_op_determinism`, which forbids to look at the clock."""
        try:
            tf.timestamp()
        except tf.errors.FailedPreconditionError:
            return None
        return cls()

    @property
    def seconds(self) -> float:
        """The sum so far."""
        return float(self._seconds.numpy())

    def measured(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches, of a process of its own; their requests are timed."""
        asked = tf.data.Dataset.counter().map(lambda _: tf.timestamp())

        def delivered(asked, batch):
            self._seconds.assign_add(tf.timestamp() - asked)
            return batch

        # a zip asks its parts in turn, in the thread that waits for the batch
        return untuned(tf.data.Dataset.zip((asked, batches)).map(tf.autograph.experimental.do_not_convert(delivered)))
