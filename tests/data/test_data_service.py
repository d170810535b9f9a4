"""A tf.data service, in this process or in its own, gives the batches that the pipeline itself gives."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, Augmentation, DataService, Mixing, TrainingData, open_source, write_records
from tests.base import random_images
from tests.drawn import write_pictures

pytestmark = pytest.mark.usefixtures("png_and_jpeg")

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


SERVICE = """
import sys
import tensorflow as tf
service = tf.data.experimental.service
dispatcher = service.DispatchServer()
worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=dispatcher.target.partition("://")[2]))
print(dispatcher.target, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def far_address():
    """A dispatcher and a worker in a process of their own, which ends with its standard input."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_CONFIG", None)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen([sys.executable, "-c", SERVICE], env=environment, text=True, **pipes)
    try:
        yield child.stdout.readline().strip()
    finally:
        child.kill()
        child.wait()


@pytest.mark.medium
@pytest.mark.parametrize("kind", [pytest.param("folder", marks=pytest.mark.slow), "tfrecord"])
def test_processes_of_their_own_give_the_local_batches_and_name_corrupt_images(kind, far_address, tmp_path):
    folder = write_pictures(tmp_path / "pictures", 120, size=(8, 8), corrupt=(57,))
    data = f"folder:{folder}"
    if kind == "tfrecord":
        write_records(open_source(data), str(tmp_path / "records"), 2)
        data = f"tfrecord:{tmp_path}/records/*.tfrecord"
    streams, accounts = [], []
    for transforms in ((), (DataService(far_address),)):
        training = TrainingData(open_source(data), (8, 8, 3), 8, 0, Augmentation(), transforms)
        streams.append(list(training.at().take(31).as_numpy_iterator()))  # two epochs and a batch
        accounts.append(training.corrupt.names)
    np.testing.assert_array_equal(*streams)
    assert list(accounts[0]) == [57] and accounts[1] == accounts[0]
