"""A tf.data service, in this process or in its own, gives the batches that the pipeline itself gives."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, Augmentation, DataService, Mixing, TrainingData
from tests.base import random_images, run_forked
from tests.drawn import write_pictures

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
    """Whether they are mixed there, or not at all."""
    mixing = (Mixing(4),) if with_labels else ()
    data = TrainingData(SOURCE, (8, 8, 3), 8, 0, Augmentation(), mixing, with_labels)
    dataset = data.at(step=3)
    received = dataclasses.replace(data, transforms=(*mixing, DataService(address))).at(step=3)
    assert received.element_spec == dataset.element_spec
    for ours, theirs in zip(received.take(12), dataset.take(12), strict=True):
        for one, other in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("address", ["localhost:5050", "http://localhost:5050", "grpc://localhost"])
def test_bad_address(address):
    with pytest.raises(ValueError, match=f"a tf.data service is given as grpc://host:port; got '{address}'"):
        DataService(address)


@pytest.mark.medium
@pytest.mark.parametrize("kind", [pytest.param("folder", marks=pytest.mark.slow), "tfrecord"])
def test_processes_of_their_own_give_the_local_batches_and_name_corrupt_images(kind, tmp_path):
    write_pictures(tmp_path / "pictures", 120, size=(8, 8), corrupt=(57,))
    process = run_forked("-m", "tests.data.far_service", kind, tmp_path)
    assert process.returncode == 0, process.stderr[-4000:]
