"""Batches from a tf.data service in a process of its own, against local ones: `python -m tests.data.far_service KIND
FOLDER`, where the folder has pictures of which number 57 is corrupt.
"""

import os
import sys
import types

import numpy as np
import tensorflow as tf


def served():
    """Forks a dispatcher and a worker, which end with this process; returns their address.

    TensorFlow is imported, which takes seconds, and not yet started.
    """
    (said, say), (until, end) = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(end)
        service = tf.data.experimental.service
        dispatcher = service.DispatchServer()
        host = dispatcher.target.partition("://")[2]
        worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=host))
        os.write(say, f"{dispatcher.target}\n".encode())
        os.read(until, 1)
        del worker, dispatcher
        os._exit(0)
    with os.fdopen(said) as lines:
        return lines.readline().strip()


def compare(kind, folder, address):
    from keras_mae.data import Augmentation, DataService, TrainingData, open_source, write_records
    from tests.two_formats import patched

    patched(types.SimpleNamespace(setattr=setattr))
    data = f"folder:{folder}/pictures"
    if kind == "tfrecord":
        write_records(open_source(data), f"{folder}/records", 2)
        data = f"tfrecord:{folder}/records/*.tfrecord"
    streams, accounts = [], []
    for transforms in ((), (DataService(address),)):
        training = TrainingData(open_source(data), (8, 8, 3), 8, 0, Augmentation(), transforms)
        streams.append(list(training.at().take(31).as_numpy_iterator()))  # two epochs and a batch
        accounts.append(training.corrupt.names)
    np.testing.assert_array_equal(*streams)
    assert list(accounts[0]) == [57] and accounts[1] == accounts[0], accounts


if __name__ == "__main__":
    compare(*sys.argv[1:], served())
