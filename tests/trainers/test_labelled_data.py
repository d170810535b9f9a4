"""Labels: of both sets, in range, and numbered alike."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from keras_mae.trainers.labelled_data import labelled_sources
from keras_mae.trainers.probe_config import ProbeConfig

CONFIG = ProbeConfig()


def folder(path, classes, count=2):
    for label in classes:
        (path / label).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full((6, 6, 3), index, "uint8")).save(path / label / f"{index}.png")
    return f"folder:{path}"


def test_the_datas_own_split():
    train, validation, num_classes = labelled_sources(CONFIG, "digits")
    assert (train.num_images, validation.num_images, num_classes) == (4000, 1000, 10)


def test_labels_per_class():
    config = dataclasses.replace(CONFIG, labels_per_class=10)
    few, validation, _ = labelled_sources(config, "digits")
    assert np.bincount(few.labels).tolist() == [10] * 10 and validation.num_images == 1000
    again, *_ = labelled_sources(config, "digits")
    other, *_ = labelled_sources(dataclasses.replace(config, seed=1), "digits")
    assert [few.name_of(i) for i in range(100)] == [again.name_of(i) for i in range(100)]
    assert [few.name_of(i) for i in range(100)] != [other.name_of(i) for i in range(100)]
    with pytest.raises(ValueError, match=r"0 labels a class cannot be chosen"):
        labelled_sources(dataclasses.replace(CONFIG, labels_per_class=0), "digits")


def test_two_folders_with_the_same_classes(tmp_path):
    data = folder(tmp_path / "a", ["cat", "dog", "eel"])
    config = dataclasses.replace(CONFIG, validation_data=folder(tmp_path / "b", ["cat", "dog", "eel"], 1))
    train, validation, num_classes = labelled_sources(config, data)
    assert (train.labels.tolist(), validation.labels.tolist(), num_classes) == ([0, 0, 1, 1, 2, 2], [0, 1, 2], 3)


def test_two_folders_that_number_their_classes_differently(tmp_path):
    data = folder(tmp_path / "a", ["cat", "dog", "eel"])
    config = dataclasses.replace(CONFIG, validation_data=folder(tmp_path / "b", ["cat", "eel", "gnu"]))
    with pytest.raises(
        ValueError, match=r"other classes \(only to train on: dog; only to test on: gnu\), and so number"
    ):
        labelled_sources(config, data)


@pytest.mark.parametrize("bad", [-1, 3])
def test_a_label_out_of_range(tmp_path, bad):
    images = np.zeros((4, 6, 6, 1), "uint8")
    for name, labels in (("good", [0, 1, 2, 1]), ("bad", [0, 1, bad, 1])):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.array(labels))
    config = dataclasses.replace(CONFIG, validation_data=f"npz:{tmp_path / 'bad.npz'}")
    message = f"labels of 3 classes are numbers from 0 to 2; 1 of 4 are not, such as {bad} of npz:.*bad.npz.2."
    with pytest.raises(ValueError, match=message):
        labelled_sources(config, f"npz:{tmp_path / 'good.npz'}")
