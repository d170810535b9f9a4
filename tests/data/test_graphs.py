"""No data set calls Python while it runs: workers of a data service have none of it, and a thread of it can hang."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import (
    Augmentation,
    FineTuningAugmentation,
    Mixing,
    TrainingData,
    evaluation_dataset,
    measure_stats,
    memory_source,
    open_source,
    pipeline,
    record_source,
    record_writer,
    sample_images,
    samples,
    stats,
)
from tests.base import random_images
from tests.drawn import write, write_pictures
from tests.two_formats import patched

SHAPE, IGNORE_STATE = (8, 8, 3), 1


def python_in(dataset):
    """The types of all operations that call Python, in a data set's graph and in its functions."""
    variant = tf.data.experimental.to_variant(dataset)
    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=IGNORE_STATE)
    graph = tf.compat.v1.GraphDef.FromString(graph.numpy())
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert len(nodes) > 1
    return {node.op for node in nodes if "PyFunc" in node.op}


@pytest.fixture
def made(monkeypatch):
    """All data sets that the package makes, those that it reads itself included."""
    datasets = []
    for module in (pipeline, samples, stats, memory_source, record_source, record_writer):
        untuned = module.untuned

        def noting(dataset, *arguments, untuned=untuned, **options):
            datasets.append(untuned(dataset, *arguments, **options))
            return datasets[-1]

        monkeypatch.setattr(module, "untuned", noting)
    return datasets


def check(made, count):
    assert len(made) >= count
    for dataset in made:
        assert not python_in(dataset)


def train_and_evaluate(source, augmentation=Augmentation()):
    data = TrainingData(source, SHAPE, 4, 0, augmentation, with_labels=source.labelled)
    return data.at(), evaluation_dataset(source, SHAPE, 4, corrupt=data.corrupt)


def test_python_is_found_where_it_is():
    def call(x):
        return tf.cond(x > 1, lambda: tf.numpy_function(lambda y: y, [x], tf.int64), lambda: x)

    nested = tf.data.Dataset.range(3).flat_map(lambda x: tf.data.Dataset.range(x).map(call))
    assert python_in(nested) == {"PyFunc"}
    eager = tf.data.Dataset.range(3).map(lambda x: tf.py_function(lambda y: y, [x], tf.int64))
    assert python_in(eager) == {"EagerPyFunc"}


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["npz", "digits"])
def test_arrays(kind, made, tmp_path):
    np.savez(tmp_path / "set.npz", images=random_images(9, SHAPE), labels=np.arange(9) % 3)
    source = open_source("digits" if kind == "digits" else f"npz:{tmp_path}/set.npz")
    shape = SHAPE if kind == "npz" else (8, 8, 1)
    mixing = Mixing(source.num_classes, 0.8, 1.0, 0.5)
    for augmentation in (Augmentation(), Augmentation(crop_scale=None, flip=False, crop_ratio=1.0)):
        TrainingData(source, shape, 4, 0, augmentation, (mixing,), with_labels=True).at()
    evaluation_dataset(source, shape, 4)
    check(made, 3)


@pytest.mark.medium
def test_files(made, tmp_path, monkeypatch):
    for label in "ab":
        write_pictures(tmp_path / "pictures" / label, 6, size=(10, 9))
    folder = f"folder:{tmp_path}/pictures"
    measure_stats(open_source(folder), 3)
    patched(monkeypatch)  # the other formats are in the data set above
    train_and_evaluate(open_source(f"disk:{tmp_path}/cache:{folder}"))
    open_source(f"memory:{folder}")
    write(tmp_path / "pictures" / "a" / "corrupt.png", b"no image")
    assert len(sample_images(open_source(folder), SHAPE, 13, 1.0)) == 12
    check(made, 5)


@pytest.mark.slow
def test_more_files(made, tmp_path):
    for label in "ab":
        write_pictures(tmp_path / "pictures" / label, 6, size=(10, 9))
    folder = f"folder:{tmp_path}/pictures"
    batches, _ = train_and_evaluate(open_source(folder), FineTuningAugmentation())
    images, labels = next(batches.as_numpy_iterator())
    assert images.shape == (4, *SHAPE) and set(labels) <= {0, 1}
    train_and_evaluate(open_source(f"memory:{folder}"))
    check(made, 5)
