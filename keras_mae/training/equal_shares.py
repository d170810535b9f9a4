"""The check that every replica has an equal share of the global batch."""

from __future__ import annotations

import math

import tensorflow as tf

from keras_mae.training.batch_parts import DROP_THE_LAST, UNEQUAL_SHARES
from keras_mae.training.checked_model import DataFault


class EqualShares:
    """Ends a step of unequal shares: its loss would not be the mean over the global batch.

    An assertion ends it at once. XLA, which compiles the whole step for TPUs, drops assertions: there the loss is NaN
    on all replicas, so that the step is skipped, and `fault` counts it.

    Attributes:
        fault: such steps without an assertion.
    """

    def __init__(self) -> None:
        self.fault = DataFault(f"{UNEQUAL_SHARES}: {DROP_THE_LAST}", is_error=True)

    def checked(self, loss: tf.Tensor, total: tf.Tensor, batch_size: tf.Tensor) -> tf.Tensor:
        """The loss of a step, for a call on each of several replicas.

        Args:
            loss: float32 scalar.
            total: float32 scalar, the number of examples on all replicas.
            batch_size: int32 scalar, the number on this one.
        """
        strategy = tf.distribute.get_strategy()
        equal = tf.equal(total, tf.cast(batch_size * strategy.num_replicas_in_sync, tf.float32))
        if not drops_assertions(strategy):
            with tf.control_dependencies([tf.debugging.Assert(equal, [UNEQUAL_SHARES])]):
                return tf.identity(loss)
        context = tf.distribute.get_replica_context()  # a replica may have the mean number
        unequal = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(~equal, tf.float32)) > 0
        self.fault.add(unequal)
        return tf.where(unequal, math.nan, loss)


def drops_assertions(strategy: tf.distribute.Strategy) -> bool:
    """Whether XLA compiles all of a step under the strategy."""
    return isinstance(strategy, tf.distribute.TPUStrategy)
