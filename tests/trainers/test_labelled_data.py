"""Labels: of both sets, in range, and numbered alike."""

import re

import numpy as np
import pytest
from PIL import Image

from keras_mae.trainers import labelled_data
from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.settings import replaced

CONFIG = ProbeConfig()


def labelled_sources(config, data):
    """The images to train on, those to test on, and the number of classes."""
    found = labelled_data.labelled_sources(config, data)
    return found.train, found.validation, found.num_classes


def folder(path, classes, count=2):
    for label in classes:
        (path / label).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full((6, 6, 3), index, "uint8")).save(path / label / f"{index}.png")
    return f"folder:{path}"


@pytest.mark.medium  # reading the digits takes seconds
def test_the_datas_own_split():
    train, validation, num_classes = labelled_sources(CONFIG, "digits")
    assert (train.num_images, validation.num_images, num_classes) == (4000, 1000, 10)


@pytest.mark.medium  # reading the digits takes seconds
def test_labels_per_class():
    config = replaced(CONFIG, labels_per_class=10)
    few, validation, _ = labelled_sources(config, "digits")
    assert np.bincount(few.labels).tolist() == [10] * 10 and validation.num_images == 1000
    again, *_ = labelled_sources(config, "digits")
    other, *_ = labelled_sources(replaced(config, seed=1), "digits")
    assert [few.name_of(i) for i in range(100)] == [again.name_of(i) for i in range(100)]
    assert [few.name_of(i) for i in range(100)] != [other.name_of(i) for i in range(100)]
    with pytest.raises(ValueError, match=r"labels_per_class lies in \[1, 1000000\], got data.labels_per_class=0"):
        labelled_sources(replaced(CONFIG, labels_per_class=0), "digits")


def test_two_folders_with_the_same_classes(tmp_path):
    data = folder(tmp_path / "a", ["cat", "dog", "eel"])
    config = replaced(CONFIG, validation_data=folder(tmp_path / "b", ["cat", "dog", "eel"], 1))
    train, validation, num_classes = labelled_sources(config, data)
    assert (train.labels.tolist(), validation.labels.tolist(), num_classes) == ([0, 0, 1, 1, 2, 2], [0, 1, 2], 3)


@pytest.mark.parametrize(("depth", "other"), [("uint8", "uint16"), ("uint16", "uint8")])
def test_images_to_test_on_are_read_as_those_to_train_on(tmp_path, caplog, depth, other):
    for name, dtype in (("a", depth), ("b", other)):
        folder(tmp_path / name, ["cat", "dog"])
        Image.fromarray(np.full((6, 6), 9, dtype)).save(tmp_path / name / "cat" / "0.png")
    config = replaced(CONFIG, validation_data=f"folder:{tmp_path / 'b'}")
    train, validation, _ = labelled_sources(config, f"folder:{tmp_path / 'a'}")
    assert train.dtype == validation.dtype == depth
    assert caplog.messages == [
        f"the images to test on are {other}, and those to train on are {depth}: both are read as {depth}, as an "
        "exported model reads them"
    ]


def test_two_folders_that_number_their_classes_differently(tmp_path):
    data = folder(tmp_path / "a", ["cat", "dog", "eel"])
    config = replaced(CONFIG, validation_data=folder(tmp_path / "b", ["cat", "eel", "gnu"]))
    with pytest.raises(
        ValueError, match=r"other classes \(only to train on: dog; only to test on: gnu\), and so number"
    ):
        labelled_sources(config, data)


@pytest.mark.parametrize("bad", [-1, 3])
def test_a_label_out_of_range(tmp_path, bad):
    images = np.zeros((4, 6, 6, 1), "uint8")
    for name, labels in (("good", [0, 1, 2, 1]), ("bad", [0, 1, bad, 1])):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.array(labels))
    config = replaced(CONFIG, validation_data=f"npz:{tmp_path / 'bad.npz'}")
    message = f"labels of 3 classes are numbers from 0 to 2; 1 of 4 are not, such as {bad} of npz:.*bad.npz.2."
    with pytest.raises(ValueError, match=message):
        labelled_sources(config, f"npz:{tmp_path / 'good.npz'}")


def arrays(path, train, validation):
    """An npz of 6 x 6 images with these labels."""
    images = {"images": np.zeros((len(train), 6, 6, 1), "uint8"), "labels": np.array(train)}
    tested = {"validation_images": np.zeros((len(validation), 6, 6, 1), "uint8"), "validation_labels": validation}
    np.savez(path, **images, **tested)
    return f"npz:{path}"


@pytest.mark.parametrize(
    ("train", "validation", "num_classes", "messages"),
    [
        ([0, 1, 2], [2, 1, 0], None, []),
        ([0, 1, 3], [0, 2, 2], None, ["1 of 4 classes have no image to train on: 2", "2 of 4 .* to test on: 1, 3$"]),
        (
            [1, 2],
            [1, 2],
            9,
            ["7 of 9 classes have no image to train on: 0, 3, 4, 5, 6 and 2 more", "7 of 9 .* test on"],
        ),
        (
            [0, 1],
            [1, 1, 1],
            None,
            ["1 of 2 .* test on: 0", "all 3 images to test on are of one class, 1: accuracies on"],
        ),
    ],
)
def test_classes_that_one_side_lacks_are_said(tmp_path, caplog, train, validation, num_classes, messages):
    config = replaced(CONFIG, num_classes=num_classes)
    labelled_sources(config, arrays(tmp_path / "set.npz", train, validation))
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == len(messages)
    for one, expected in zip(found, messages):
        assert re.search(expected, one)


def test_a_class_of_one_image_is_named(tmp_path, caplog):
    data = folder(tmp_path / "set", ["cat", "dog"], 12)
    folder(tmp_path / "set", ["newt"], 1)
    train, validation, _ = labelled_sources(CONFIG, data)
    assert np.bincount(train.labels).tolist() == [11, 11, 1] and validation.labels.tolist() == [0, 1]
    assert [record.getMessage() for record in caplog.records] == ["1 of 3 classes have no image to test on: newt"]


def test_one_class_cannot_be_told_from_another(tmp_path):
    data = arrays(tmp_path / "set.npz", [1, 1, 1], [0, 1])
    with pytest.raises(ValueError, match="all 3 images to train on are of one class, 1, and a classifier tells at lea"):
        labelled_sources(CONFIG, data)
