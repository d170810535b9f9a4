"""Input from a tf.data service on other machines."""

from __future__ import annotations

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class DataService:
    """A transform of `TrainingData`: lets a tf.data service compute the same batches.

    Every worker of the service makes the whole stream, and the first that has the next element delivers it. So the
    order does not depend on the number of workers, or the loss of one; more cores for a worker prepare more images a
    second.

    Attributes:
        address: `grpc://host:port`, the service's dispatcher; another form is a ValueError.
    """

    address: str

    def __post_init__(self) -> None:
        protocol, separator, host = self.address.partition("://")
        if not separator or protocol != "grpc" or ":" not in host:
            raise ValueError(f"a tf.data service is given as grpc://host:port; got {self.address!r}")

    def __call__(self, batches: tf.data.Dataset, seed: int, step: int) -> tf.data.Dataset:
        """Returns the same data set, element by element, of elements of any kind."""
        service = tf.data.experimental.service
        far = batches.enumerate().apply(service.distribute(service.ShardingPolicy.OFF, service=self.address))

        def choose(expected, numbered):
            number, element = numbered
            next_one = tf.equal(number, expected)
            return expected + tf.cast(next_one, tf.int64), (next_one, element)

        received = far.scan(tf.constant(0, tf.int64), choose)
        chosen = received.filter(lambda next_one, _: next_one).map(lambda _, element: element)
        return chosen.prefetch(tf.data.AUTOTUNE)
