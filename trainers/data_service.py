"""Input from a tf.data service, which prepares images on other machines."""

from __future__ import annotations

import tensorflow as tf


def from_service(dataset: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """The same data set, element for element, computed by the service at `address`.

    Every worker of the service makes the whole stream, and whichever is first with the element that comes next
    delivers it. So the order does not depend on how many workers there are, or whether one is lost; to prepare more
    images a second, give a worker more cores.

    Args:
        dataset: any data set.
        address: `grpc://host:port`, the service's dispatcher.

    Raises:
        ValueError: if the address has another form.
    """
    protocol, separator, host = address.partition("://")
    if not separator or protocol != "grpc" or ":" not in host:
        raise ValueError(f"a tf.data service is given as grpc://host:port; got {address!r}")
    service = tf.data.experimental.service.distribute(tf.data.experimental.service.ShardingPolicy.OFF, service=address)

    def choose(expected, numbered):
        number, element = numbered
        next_one = tf.equal(number, expected)
        return expected + tf.cast(next_one, tf.int64), (next_one, element)

    received = dataset.enumerate().apply(service).scan(tf.constant(0, tf.int64), choose)
    chosen = received.filter(lambda next_one, _: next_one).map(lambda _, element: element)
    return chosen.prefetch(tf.data.AUTOTUNE)
