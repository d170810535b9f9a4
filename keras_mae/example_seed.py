"""Random numbers that are a function of (seed, step, index of the example in the global batch)."""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

import tensorflow as tf

_NUMBERS = 1024  # of purposes below a purpose
_PHILOX = 1  # the generator's number in TensorFlow's ops; the default choice differs between devices


class Purpose(enum.IntEnum):
    """The purpose of random numbers.

    A data set's key is (seed, epoch) and a model's is (seed, step), often the same two numbers. So every draw begins
    with `seed.fold_in(Purpose....)`; code that draws several tensors folds in further numbers of its own.
    """

    CROP = 0
    FLIP = 1
    JITTER = 2
    RAND_AUGMENT = 3
    ERASING = 4
    MIXING = 5
    MASK = 6
    DROP_PATH = 7
    PREDICTION = 8


class ExampleSeed(NamedTuple):
    """A stateless seed that gives every example of a global batch its own random numbers.

    A generator with state draws the same numbers on every replica and loses its state on resume. This one is the
    counter-based Philox4x32-10: the key is (seed, step), and the counter (example, purpose). So a draw depends
    neither on the number of replicas nor on earlier draws, and is the same with and without XLA.

    Attributes:
        key: uint64 tensor `(1,)`.
        first: int64 scalar, index in the global batch of this replica's first example.
        purpose: int64 scalar, separates draws for different purposes.

    Reference: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """

    key: tf.Tensor
    first: tf.Tensor
    purpose: tf.Tensor

    @classmethod
    def of(cls, seed, step, first=0) -> ExampleSeed:
        """Returns the seed for (seed, step) from the example `first` on; all are integer scalars below 2^31."""
        key = tf.cast(seed, tf.int64) * 2**32 + tf.cast(step, tf.int64)
        return cls(tf.cast(key, tf.uint64)[None], tf.cast(first, tf.int64), tf.constant(0, tf.int64))

    @classmethod
    def for_step(cls, seed, step, batch_size) -> ExampleSeed:
        """Returns the seed of training step `step` on the calling replica.

        Args:
            seed: the run's seed, an int.
            step: integer scalar, the number of optimizer steps so far.
            batch_size: integer scalar, examples on this replica, as on every other.
        """
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0
        return cls.of(seed, step, tf.cast(replica, tf.int64) * tf.cast(batch_size, tf.int64))

    def skip(self, count) -> ExampleSeed:
        """Returns the seed of the examples after the first `count`, an integer scalar."""
        return self._replace(first=self.first + tf.cast(count, tf.int64))

    def fold_in(self, number: int) -> ExampleSeed:
        """Returns a seed for another purpose: a `Purpose`, and then numbers in [0, 1023) below it."""
        if not 0 <= number < _NUMBERS - 1:
            raise ValueError(f"a purpose is a number in [0, {_NUMBERS - 1}), got {number}")
        return self._replace(purpose=self.purpose * _NUMBERS + number + 1)

    def uniform(self, batch_size, shape: tuple[int, ...]) -> tf.Tensor:
        """Draws uniform float32 numbers in [0, 1), `(batch_size, *shape)`, for this replica's examples."""
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
        """Draws the numbers of `uniform` for any examples.

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
    """Converts 32-bit words to numbers in [0, 1): TensorFlow's own floats differ between its kernels and XLA."""
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, bits.dtype)), tf.float32) * 2.0**-24


def _philox(counter, purpose, key) -> tf.Tensor:
    """Computes Philox4x32-10, as `uniform` does, for any counters: int64 `(...)` to words in uint64 `(..., 4)`."""
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
