"""A tf.data service in this process gives the batches that the pipeline itself gives."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, Augmentation, CorruptImages, training_dataset
from keras_mae.trainers.data_service import from_service
from tests.base import random_images

SOURCE = ArraySource(random_images(20, (8, 8, 3)), np.arange(20) % 4)


@pytest.fixture(scope="module")
def address():
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    host = dispatcher.target.partition("://")[2]
    workers = [service.WorkerServer(service.WorkerConfig(dispatcher_address=host)) for _ in range(2)]
    yield dispatcher.target
    del workers


@pytest.mark.medium
@pytest.mark.parametrize("with_labels", [False, True])
def test_batches_come_whole_once_and_in_order_from_two_workers(address, with_labels):
    corrupt = CorruptImages(20, SOURCE.name_of)
    dataset = training_dataset(SOURCE, (8, 8, 3), 8, 0, Augmentation(), corrupt, first_step=3, with_labels=with_labels)
    received = from_service(dataset, address)
    assert received.element_spec == dataset.element_spec
    for ours, theirs in zip(received.take(12), dataset.take(12), strict=True):
        for one, other in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("address", ["localhost:5050", "http://localhost:5050", "grpc://localhost"])
def test_bad_address(address):
    with pytest.raises(ValueError, match=f"a tf.data service is given as grpc://host:port; got '{address}'"):
        from_service(tf.data.Dataset.range(3), address)
