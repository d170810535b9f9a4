"""Random numbers that are a function of (seed, step, index of the example in the global batch)."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

_PHILOX = 1  # the generator's number in TensorFlow's ops; the default choice differs between devices


class ExampleSeed(NamedTuple):
    """A stateless seed that gives every example of a global batch its own random numbers.

    A generator with state draws the same numbers on every replica and is lost on resume. This one is the
    counter-based Philox4x32-10: the key is (seed, step), and the counter (example, purpose). So a draw depends
    neither on the number of replicas nor on what happened before, and is the same with and without XLA.

    Attributes:
        key: uint64 tensor `(1,)`.
        first: int64 scalar, index in the global batch of the first example that this replica holds.
        purpose: int64 scalar, separates draws for different purposes.

    Reference: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """

    key: tf.Tensor
    first: tf.Tensor
    purpose: tf.Tensor

    @classmethod
    def of(cls, seed, step, first=0) -> ExampleSeed:
        """The seed for (seed, step), beginning with the example `first`; all integer scalars below 2^31."""
        key = tf.cast(seed, tf.int64) * 2**32 + tf.cast(step, tf.int64)
        return cls(tf.cast(key, tf.uint64)[None], tf.cast(first, tf.int64), tf.constant(0, tf.int64))

    @classmethod
    def for_step(cls, seed, step, batch_size) -> ExampleSeed:
        """The seed of training step `step` on the calling replica.

        Args:
            seed: the run's seed, an int.
            step: integer scalar, the number of optimizer steps taken so far.
            batch_size: integer scalar, examples on this replica; every replica must hold as many.
        """
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0
        return cls.of(seed, step, tf.cast(replica, tf.int64) * tf.cast(batch_size, tf.int64))

    def fold_in(self, number: int) -> ExampleSeed:
        """A seed for another purpose, which the non-negative `number` names."""
        return self._replace(purpose=self.purpose * 1024 + number + 1)

    def uniform(self, batch_size, shape: tuple[int, ...]) -> tf.Tensor:
        """Uniform float32 numbers in [0, 1), shape `(batch_size, *shape)`, for this replica's examples."""
        count = math.prod(shape)
        blocks = -(-count // 4)  # the generator yields four numbers for each value of its counter
        counter = tf.stack([self.first * blocks, self.purpose])
        bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=[batch_size, 4 * blocks],
            key=self.key,
            counter=tf.cast(counter, tf.uint64),
            alg=_PHILOX,
            dtype=tf.uint32,
        )
        # TensorFlow's own floats differ between its kernels and XLA, the bits do not
        numbers = tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24
        return tf.reshape(numbers[:, :count], [batch_size, *shape])
