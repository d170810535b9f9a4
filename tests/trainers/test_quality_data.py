"""Which images are evaluated while pretraining."""

import dataclasses

import numpy as np
import pytest

from keras_mae.data import open_source
from keras_mae.trainers.monitor_config import Evaluation
from keras_mae.trainers.quality_data import labelled_subset, some
from keras_mae.trainers.settings import changed
from tests.base import random_images
from tests.trainers.pretraining import CONFIG

IMAGES = random_images(120, (16, 16, 3))


def subset(path, arrays, *settings, images=IMAGES):
    np.savez(path / "images.npz", images=images, **arrays)
    data = f"npz:{path / 'images.npz'}"
    return labelled_subset(changed(CONFIG, settings), data, open_source(data))


def test_a_quarter_of_the_data_with_their_own_classes(tmp_path):
    found = subset(tmp_path, {"labels": np.arange(120) % 3})
    assert (found.train.num_images, found.validation.num_images, found.num_outputs) == (90, 30, 3)
    assert np.bincount(found.validation.required_labels()).tolist() == [10, 10, 10]
    assert not set(found.train.indices) & set(found.validation.indices)


def test_a_validation_split_of_their_own_and_fewer_images(tmp_path):
    apart = {"validation_images": random_images(50, (16, 16, 3), 1), "validation_labels": np.arange(50) % 3}
    found = subset(tmp_path, {"labels": np.arange(120) % 3, **apart}, "evaluation_images=100")
    assert (found.train.num_images, found.validation.num_images) == (75, 25)
    found = subset(tmp_path, {"labels": np.arange(120) % 3, **apart}, "evaluation_images=1000")
    assert (found.train.num_images, found.validation.num_images) == (120, 50)


def test_of_many_classes_some_are_chosen(tmp_path):
    """60 classes of 4 images in train and validation together: 100 images are for 5 of them."""
    images = random_images(480, (16, 16, 3))
    found = subset(tmp_path, {"labels": np.arange(480) % 60}, "evaluation_images=100", images=images)
    trained, tested = (np.unique(each.required_labels()) for each in (found.train, found.validation))
    assert len(trained) == 5 and set(tested) <= set(trained)
    again = subset(tmp_path, {"labels": np.arange(480) % 60}, "evaluation_images=100", images=images)
    assert (again.train.indices == found.train.indices).all()


@pytest.mark.parametrize(
    "labels",
    [None, np.zeros(120, int), np.arange(120), np.arange(120) // 3, np.where(np.arange(120) < 119, 0, 1)],
    ids=["none", "one class", "a class each", "three each", "one large class"],
)
def test_labels_that_tell_nothing_apart_are_none(tmp_path, labels):
    assert subset(tmp_path, {} if labels is None else {"labels": labels}) is None


def test_labels_that_are_asked_for(tmp_path):
    """Those of other images, and several ones."""
    flags = np.stack([np.arange(120) % 2, np.arange(120) % 3 == 0], axis=1).astype(int)
    np.savez(tmp_path / "other.npz", images=IMAGES, flags=flags)
    settings = [f"labelled_data=npz:{tmp_path / 'other.npz'}", "label_columns=flags", "task=labels"]
    found = subset(tmp_path, {}, *settings)
    assert (found.task, found.names) == ("labels", ["flags[0]", "flags[1]"])
    assert (found.train.num_images, found.validation.num_images) == (90, 30)
    with pytest.raises(ValueError, match="labels are needed, and these images have none"):
        subset(tmp_path, {}, f"labelled_data=npz:{tmp_path / 'images.npz'}")
    np.savez(tmp_path / "gray.npz", images=IMAGES[..., :1], labels=np.arange(120) % 3)
    with pytest.raises(ValueError, match="the images have 1 channel, and the model takes 3"):
        subset(tmp_path, {}, f"labelled_data=npz:{tmp_path / 'gray.npz'}")


def test_a_part_keeps_the_order_and_all_is_the_source_itself(tmp_path):
    np.savez(tmp_path / "images.npz", images=IMAGES)
    source = open_source(f"npz:{tmp_path / 'images.npz'}")
    part = some(source, 40)
    assert part.num_images == 40 and (np.diff(part.indices) > 0).all() and part.indices[-1] > 60
    assert some(source, 120) is source and some(source, 10**9) is source


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["evaluate_every=0", "stop_after=2"], "stop_after is for evaluations, and evaluate_every=0 makes none"),
        (["evaluate_every=0", "monitor=knn"], "monitor is for evaluations"),
        (["labels=none.csv"], "--labels=none.csv: there is no such file"),
        (["label_columns=a,b"], "task=classes has one column of labels, got a, b"),
    ],
)
def test_settings_that_exclude_each_other(settings, message):
    config = changed(CONFIG, settings)
    with pytest.raises(ValueError, match=message):
        config.evaluation.check(config.data)


def test_an_alignment_is_no_choice_as_collapsed_features_have_the_best():
    with pytest.raises(ValueError, match="no evaluation.monitor is called 'alignment'"):
        dataclasses.replace(CONFIG, evaluation=Evaluation(monitor="alignment"))
