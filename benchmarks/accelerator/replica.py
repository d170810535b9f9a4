"""One replica of several, for a step that XLA compiles where the other devices are not."""

from __future__ import annotations

import tensorflow as tf

# Private names of TensorFlow 2.21: `tf.raw_ops` has no replica's id, and a sum that XLA has for TPUs alone.
from tensorflow.compiler.tf2xla.ops import gen_xla_ops


class OneOfSeveral(tf.distribute.OneDeviceStrategy):
    """Strategy of a step that is traced once, for all replicas: they differ in their data, and in XLA's replica id.

    Args:
        num_replicas: all of them.
    """

    def __init__(self, num_replicas: int) -> None:
        super().__init__("/cpu:0")
        self._num_replicas = num_replicas

    @property
    def num_replicas_in_sync(self) -> int:
        return self._num_replicas

    def replica_context(self) -> tf.distribute.ReplicaContext:
        """The context to trace the step in; made within the function that XLA compiles."""
        return _Context(self, gen_xla_ops.xla_replica_id())


class _Context(tf.distribute.ReplicaContext):
    def all_reduce(self, reduce_op, value, options=None):
        """Sums over the replicas, by XLA's operation."""
        if reduce_op != tf.distribute.ReduceOp.SUM:
            raise ValueError(f"a step sums over its replicas, and takes no other ReduceOp; got {reduce_op}")
        group = [list(range(self.num_replicas_in_sync))]
        return tf.nest.map_structure(lambda each: _sum(each, group), value)


def _sum(value, group: list[list[int]]) -> tf.Tensor:
    return gen_xla_ops.xla_all_reduce(value, group, reduce_op="Add", mode="CrossReplica")
