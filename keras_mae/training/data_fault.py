"""What is wrong with the data of a step that is compiled, where no error can be raised."""

from __future__ import annotations

import tensorflow as tf


class DataFault:
    """Counts the examples that cannot be trained on, inside of a step; outside of it, tells of them.

    XLA drops assertions. A step makes the loss of such examples NaN, so that nothing is learned from them, and counts
    them here, so that they can be named. It is in no checkpoint and no file.

    Args:
        sentence: what is wrong and what to do, without a full stop; `{count}` in it is the number of examples.
        is_error: whether one such example ends `fit` and `evaluate`; otherwise the steps are skipped, as many as
            `StopOnSkippedSteps` allows.
    """

    def __init__(self, sentence: str, is_error: bool) -> None:
        self.is_error = is_error
        self._sentence, self._told = sentence, 0
        # each replica counts for itself, which it may within a loop over the parts of a batch too
        self._count = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
            name="data_fault",
        )

    def add(self, count) -> None:
        """Adds a scalar number of examples."""
        self._count.assign_add(tf.cast(count, tf.int64))

    def told(self) -> str | None:
        """The sentence on what was added since it was last asked for, or None; it waits for the steps to end."""
        count = int(tf.convert_to_tensor(self._count.read_value()))
        new, self._told = count - self._told, count
        return self._sentence.format(count=new) if new else None
