"""TFDS data sets, prepared here and read offline, undecoded."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_mae.data import (
    FolderSource,
    evaluation_dataset,
    evaluation_transform,
    open_source,
    tfds_builder,
    tfds_source,
)
from tests.data.test_sources import image_of
from tests.drawn import as_image, drawn, encoded, write

pytestmark = pytest.mark.usefixtures("png_and_jpeg")

COUNT = 14


def folder_in(path):
    """`train` and `test`, of two classes each."""
    for number in range(COUNT):
        split = "train" if number < 10 else "test"
        contents = encoded(as_image(drawn(20 + number, 30, seed=number)), "JPEG")
        write(path / split / ("cat", "dog")[number % 2] / f"{number:02}.jpeg", contents)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_in(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def data_dir(folder, tmp_path_factory):
    """A prepared data set of the folder's images, in two files, which TFDS shuffles as it writes them."""
    path = str(tmp_path_factory.mktemp("tfds"))

    def examples(split):
        source = FolderSource(str(folder / split), ["cat", "dog"])
        for number in range(source.num_images):
            yield f"{split}{number}", {"image": source.paths[number], "label": int(source.labels[number])}

    tfds.dataset_builders.store_as_tfds_dataset(
        name="pets",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            }
        ),
        split_datasets={split: examples(split) for split in ("train", "test")},
        data_dir=path,
    )
    return path


def batches(source):
    return list(evaluation_dataset(source, (16, 12, 3), 4, with_labels=True).as_numpy_iterator())


def in_order(images, labels):
    """Sizes, pixels and labels of all images, in an order that these give."""
    return sorted((image.shape, image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


@pytest.mark.slow
def test_image_folder_gives_the_folders_batches(folder):
    for split, name in ((None, "train"), ("train", "train"), ("validation", "test")):
        source = open_source(f"tfds:ImageFolder@{folder}", split)
        expected = FolderSource(str(folder / name), ["cat", "dog"])
        assert source.class_names == ["cat", "dog"]
        for one, other in zip(batches(source), batches(expected), strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.medium
def test_a_prepared_set_gives_the_same_images_and_labels(folder, data_dir):
    for splits, name in (((None, "train"), "train"), (("validation",), "test")):
        expected = FolderSource(str(folder / name), ["cat", "dog"])
        expected = in_order([image_of(expected, n) for n in range(expected.num_images)], expected.labels)
        for split in splits:
            source = open_source(f"tfds:pets@{data_dir}", split)
            assert source.class_names == ["cat", "dog"] and source.labelled
            found = [image_of(source, n) for n in range(source.num_images)]
            assert in_order(found, source.labels) == expected
    images, labels = map(np.concatenate, zip(*batches(source)))  # of the last, which batches hold
    transformed = [evaluation_transform(image, (16, 12, 3)) for image in found]
    np.testing.assert_array_equal(images, transformed)
    assert labels.tolist() == source.labels.tolist()


@pytest.mark.medium
def test_parts_of_splits_are_those_of_tfds(data_dir):
    builder = tfds_builder("pets", data_dir)
    for split in ("train[2:7]", "train[:50%]+test", "test"):
        source = tfds_source(builder, split)
        decoders = {"image": tfds.decode.SkipDecoding()}
        expected = list(builder.as_dataset(split=split, decoders=decoders).as_numpy_iterator())
        assert source.num_images == len(expected)
        for number, example in enumerate(expected):
            found = source.read(tf.constant(number, tf.int64))
            assert found["image"].numpy() == example["image"] and int(found["label"]) == example["label"]
    source = open_source(f"tfds:pets:train[2:7]@{data_dir}")
    assert source.num_images == 5
    parts = [open_source(f"tfds:pets:train@{data_dir}", split) for split in ("train", "validation")]
    assert [np.bincount(part.labels).tolist() for part in parts] == [[4, 4], [1, 1]]  # one of each class at least


@pytest.mark.medium
def test_what_is_not_there(folder, data_dir):
    with pytest.raises(ValueError, match="tfds:pets:val: there is no such split; there are: test, train"):
        open_source(f"tfds:pets:val@{data_dir}")
    with pytest.raises(ValueError, match="tfds:birds_of_mine: is not prepared in .*, and cannot be: DatasetNotFound"):
        open_source(f"tfds:birds_of_mine@{data_dir}")
    with pytest.raises(ValueError, match="there is no such split; there are: test, train"):
        open_source(f"tfds:ImageFolder:val@{folder}")
    with pytest.raises(ValueError, match="tfds:ImageFolder needs its folder"):
        open_source("tfds:ImageFolder")
    with pytest.raises(ValueError, match=r"given as tfds:NAME\[:SPLIT\]\[@DATA_DIR\]"):
        open_source("tfds:@/data")
