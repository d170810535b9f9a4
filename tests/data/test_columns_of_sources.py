"""Values beside images: features of records and of TFDS, arrays of an npz file."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_mae.data import ArraySource, FolderSource, Subset, open_source
from tests.base import random_images
from tests.drawn import as_image, drawn, encoded, write

pytestmark = pytest.mark.usefixtures("png_and_jpeg")
FILES = [encoded(as_image(drawn(5, 6, seed=number)), "PNG") for number in range(4)]
KINDS = {
    bytes: lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=values)),
    float: lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values)),
    int: lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values)),
}


def column(source, name):
    return source.columns([name])[0]


def records(path, **features):
    """Records of these features, each a list with the values of every record, or None for a record without."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in zip(*features.values()):
            given = {name: values for name, values in zip(features, row) if values is not None}
            made = {name: KINDS[type(values[0])](values) for name, values in given.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString())
    return open_source(f"tfrecord:{path}")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    found = records(
        tmp_path_factory.mktemp("records") / "a.tfrecord",
        image=[[file] for file in FILES],
        age=[[30.5], [41.0], None, [7.25]],
        sex=[[b"f"], [b"m"], [b"f"], [b"f"]],
        label=[[2], [0], [1], [1]],
        found=[[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1]],
    )
    found.columns(["age", "sex", "label", "found[2]"])  # read together, and kept
    return found


@pytest.mark.medium
def test_features_of_records(source):
    assert sorted(source.column_names) == ["age", "found[0]", "found[1]", "found[2]", "label", "sex"]
    assert column(source, "sex").names() == ["f", "m"] and column(source, "sex").classes(["f", "m"]).tolist() == [
        0,
        1,
        0,
        0,
    ]
    assert column(source, "label").names() == ["0", "1", "2"]
    age = column(source, "age")
    assert age[np.array([3, 0])].numbers().tolist() == [7.25, 30.5]
    with pytest.raises(
        ValueError, match="a.tfrecord, record at byte .*, column 'age': is empty, and a number is needed"
    ):
        age.numbers()
    third = column(source, "found[2]")
    assert third.missing.tolist() == [False, False, False, True] and third.values[:3].tolist() == [1, 0, 1]
    part = Subset(source, np.array([3, 1]))
    assert column(part, "sex").texts() == ["f", "m"] and part.labels.tolist() == [1, 0]


@pytest.mark.medium
def test_damaged_records_and_values_of_another_kind_are_missing(tmp_path):
    path = tmp_path / "a.tfrecord"
    source = records(path, image=[[file] for file in FILES], age=[[1], [2], [3], [4.0]])
    contents = bytearray(path.read_bytes())
    contents[int(source.index.offset[2]) + 9] ^= 255
    path.write_bytes(contents)
    age = column(open_source(f"tfrecord:{path}"), "age")
    assert age.missing.tolist() == [False, False, True, True] and age.values[:2].tolist() == [1, 2]


def test_arrays_of_a_file(tmp_path):
    beside = {
        "labels": np.eye(3, dtype="float32"),
        "age": np.array([3, 1, 2], "uint8"),
        "sex": np.array(["m", "f", ""]),
    }
    apart = {"validation_images": random_images(2, (4, 4, 1)), "validation_age": np.array([7.5, 8])}
    np.savez(tmp_path / "set.npz", images=random_images(3, (4, 4, 1)), **beside, **apart, other=np.arange(9))
    source = open_source(f"npz:{tmp_path}/set.npz")
    assert source.column_names == ["labels[0]", "labels[1]", "labels[2]", "age", "sex"] and not source.labelled
    assert column(source, "labels[1]").truths().tolist() == [0, 1, 0]
    assert column(source, "age").numbers().tolist() == [3, 1, 2]
    with pytest.raises(ValueError, match=r"npz:.*set.npz\[2\], column 'sex': is empty"):
        column(source, "sex").texts()
    with pytest.raises(
        ValueError, match=r"have none, such as .*; beside them lie labels\[0\], .*: see --label_columns"
    ):
        source.required_labels()
    assert column(open_source(f"npz:{tmp_path}/set.npz", "validation"), "age").numbers().tolist() == [7.5, 8]


def test_what_is_not_there(source, tmp_path):
    with pytest.raises(ValueError, match="nothing called 'aeg' lies beside the images; did you mean age.* There are: "):
        column(source, "aeg")
    write(tmp_path / "x.png", FILES[0])
    with pytest.raises(
        ValueError, match="x.png: nothing called 'age' lies beside the images; give a table with --labels"
    ):
        column(FolderSource(str(tmp_path)), "age")
    assert ArraySource(random_images(2, (4, 4, 1))).column_names == []


@pytest.mark.slow
def test_features_of_tfds(tmp_path):
    examples = [
        {"image": drawn(5, 6, seed=n), "age": n + 0.5, "kind": n % 2, "ill": n == 1, "about": {"size": n}}
        for n in range(3)
    ]
    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
        "age": np.float64,
        "kind": tfds.features.ClassLabel(names=["zebra", "ape"]),
        "ill": np.bool_,
        "about": {"size": np.int64},
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="beasts", version="1.0.0", data_dir=str(tmp_path), features=tfds.features.FeaturesDict(features),
        split_datasets={"train": list(enumerate(examples))},
    )  # fmt: skip
    source = open_source(f"tfds:beasts@{tmp_path}")
    assert sorted(source.column_names) == ["about/size", "age", "ill", "kind"]
    kind, age = column(source, "kind"), column(source, "age").numbers()
    assert kind.names() == ["zebra", "ape"]
    assert kind.classes(kind.names()).tolist() == [int(one) % 2 for one in age]
    assert column(source, "ill").truths().tolist() == [float(one == 1.5) for one in age]
    assert column(source, "about/size").numbers().tolist() == [one - 0.5 for one in age]
