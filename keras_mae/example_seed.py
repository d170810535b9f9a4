"""Random numbers that are a function of (seed, step, index of the example in the global batch)."""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

import tensorflow as tf

_NUMBERS = 1024  # of purposes below a purpose
_PHILOX = 1  # the generator's number in TensorFlow's ops; the default choice differs between devices


class Purpose(enum.IntEnum):
    """What random numbers are drawn for.

    A data set's key is (seed, epoch) and a model's is (seed, step), which often are the same two numbers. So
    everything that draws begins with `seed.fold_in(Purpose....)`; what it draws more than one tensor for, it folds in
    further numbers of its own for.
    """

    CROP = 0
    FLIP = 1
    JITTER = 2
    RAND_AUGMENT = 3
    ERASING = 4
    MIXING = 5
    MASK = 6
    DROP_PATH = 7


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

    def skip(self, count) -> ExampleSeed:
        """The seed of the examples that come after the first `count` ones, an integer scalar."""
        return self._replace(first=self.first + tf.cast(count, tf.int64))

    def fold_in(self, number: int) -> ExampleSeed:
        """A seed for another purpose: a `Purpose`, and then numbers in [0, 1023) below it."""
        if not 0 <= number < _NUMBERS - 1:
            raise ValueError(f"a purpose is a number in [0, {_NUMBERS - 1}), got {number}")
        return self._replace(purpose=self.purpose * _NUMBERS + number + 1)

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
        return tf.reshape(_floats(bits)[:, :count], [batch_size, *shape])

    def uniform_at(self, indices, shape: tuple[int, ...]) -> tf.Tensor:
        """The numbers of `uniform` for examples that do not follow each other.

        Args:
            indices: int64 `(B,)`, counted from `first`.
            shape: of the numbers for one example.

        Returns:
            float32 `(B, *shape)`.
        """
        count = math.prod(shape)
        blocks = -(-count // 4)
        counter = (self.first + indices)[:, None] * blocks + tf.range(blocks, dtype=tf.int64)
        bits = tf.reshape(_philox(counter, self.purpose, self.key[0]), [-1, 4 * blocks])
        return tf.reshape(_floats(bits)[:, :count], [-1, *shape])


def _floats(bits) -> tf.Tensor:
    """Uniform numbers in [0, 1) of 32-bit words: TensorFlow's own floats differ between its kernels and XLA."""
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, bits.dtype)), tf.float32) * 2.0**-24


def _philox(counter, purpose, key) -> tf.Tensor:
    """Philox4x32-10, the generator behind `uniform`, for any counters: int64 `(...)` to words in uint64 `(..., 4)`."""
    word = tf.constant(2**32, tf.uint64)
    counter, purpose = tf.cast(counter, tf.uint64), tf.cast(purpose, tf.uint64) * tf.ones_like(counter, tf.uint64)
    c0, c1, c2, c3 = counter % word, counter // word, purpose % word, purpose // word
    k0, k1 = key % word, key // word
    for _ in range(10):
        first, second = tf.constant(0xD2511F53, tf.uint64) * c0, tf.constant(0xCD9E8D57, tf.uint64) * c2
        c0, c1 = tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(second // word, c1), k0), second % word
        c2, c3 = tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(first // word, c3), k1), first % word
        k0, k1 = (k0 + 0x9E3779B9) % word, (k1 + 0xBB67AE85) % word
    return tf.stack([c0, c1, c2, c3], axis=-1)
