"""Tasks: their heads, measures and settings; mixed labels; the labels and rows of predictions."""

import csv
import math

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from keras_mae.data import ArraySource, open_source
from keras_mae.data.mixing import mix_batch
from keras_mae.models import ImageClassifier, ImageRegressor
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.labelled_data import LabelledSources
from keras_mae.trainers.predicted_data import open_predicted
from keras_mae.trainers.prediction_rows import rows_for, task_of_head
from keras_mae.trainers.settings import replaced
from keras_mae.trainers.tasks import Classes, Numbers, SeveralLabels, task_of
from keras_mae.trainers.trained_model import TrainedModel
from tests.base import random_images, small_encoder

SHAPE = (8, 8, 1)


def source(rows, task="labels", names=("a", "b")):
    rows = np.asarray(rows)
    return ArraySource(random_images(len(rows), SHAPE), rows, task=task, label_names=list(names))


def labelled(train, tested, task="labels", names=("a", "b")):
    return LabelledSources(source(train, task, names), source(tested, task, names), task, len(names), list(names))


def test_heads():
    rows = [[0, 1], [1, 0], [1, 1]]
    several = task_of(labelled(rows, rows))
    head = several.head(small_encoder(SHAPE), 0.1, num_trainable_layers=0.5)
    assert isinstance(head, ImageClassifier) and head.multi_label and head.label_smoothing == 0.1
    assert (head.num_classes, several.names, head.num_trainable_layers) == (2, ["a", "b"], 0.5)
    numbers = task_of(labelled([[1, 10], [3, 40]], [[5, 5]], "numbers"))
    head = numbers.head(small_encoder(SHAPE), 0.0)
    assert isinstance(head, ImageRegressor) and (head.mean, head.std) == ((2, 25), (1, 15))
    classes = ArraySource(random_images(3, SHAPE), np.array([0, 1, 1]), class_names=["x", "y"])
    assert task_of(LabelledSources(classes, classes, "classes", 3, ["x", "y"])).names == ["x", "y", "2"]


def test_outputs_are_counted_in_words():
    assert SeveralLabels(["a", "b", "c"]).counted == "3 labels" and SeveralLabels(["a"]).counted == "1 label"
    assert Numbers(["age"]).counted == "1 number" and Classes(["x", "y"]).counted == "2 classes"


def test_labels_without_an_auc_are_refused():
    message = r"of 2 labels \(a, b\) none has both images with it and images without it among the 2 to test on"
    with pytest.raises(ValueError, match=message):
        task_of(labelled([[0, 1], [1, 0]], [[0, 1], [0, 1]]))
    task_of(labelled([[0, 1], [1, 0]], [[0, 1], [0, 0]]))  # one label has


def test_the_measure_of_an_epoch():
    rng = np.random.default_rng(0)
    labels, shares = (rng.random((40, 3)) < 0.4).astype("float32"), rng.random((40, 3), "float32")
    task = SeveralLabels(["a", "b", "c"])
    assert task.of_epoch(labels, shares) == {"auc": pytest.approx(roc_auc_score(labels, shares), abs=1e-12)}
    assert math.isnan(task.of_epoch(labels, np.where(shares > 0.9, np.nan, shares))["auc"])
    assert Classes(["a", "b"]).of_epoch(labels, shares) == {} == Numbers(["a"]).of_epoch(labels, shares)


def test_numbers_leave_off_what_is_for_classes(caplog):
    caplog.set_level("INFO", "keras_mae")
    task = Numbers(["a"])
    config = task.fitting(FinetuneConfig())
    assert (config.data.mixup, config.data.cutmix, config.data.label_smoothing) == (0, 0, 0) and not config.data.mixes
    assert caplog.messages == [
        "mixup, CutMix and label smoothing are for classes and labels: a run for numbers leaves them off"
    ]
    caplog.clear()
    assert task.fitting(config) == config and task.fitting(ProbeConfig()) == ProbeConfig() and not caplog.messages
    assert SeveralLabels(["a"]).fitting(FinetuneConfig()) == FinetuneConfig()


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_labels_are_mixed_as_images_are(mixup, cutmix):
    """One-hot rows as several labels mix as classes do; smoothing moves each label to one half."""
    images, classes = random_images(6, SHAPE), np.array([0, 2, 1, 1, 0, 2])
    for step in range(4):
        expected = mix_batch(images, tf.constant(classes), 3, 7, step, mixup, cutmix, 0.0)
        rows = tf.one_hot(classes, 3)
        found = mix_batch(images, rows, 3, 7, step, mixup, cutmix, 0.0)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        smoothed = mix_batch(images, rows, 3, 7, step, mixup, cutmix, 0.1)[1]
        np.testing.assert_allclose(smoothed, 0.9 * expected[1] + 0.05, atol=1e-6)


def trained(task, names, data="npz:elsewhere.npz", **changes):
    config = replaced(FinetuneConfig(), task=task, label_columns=",".join(names), **changes)
    return TrainedModel("run/model.keras", "run", config, data, {"label_names": names})


def rows_of(task, rows, given, names, answers):
    made = rows_for(task, trained(task.kind, task.names), source(rows, given, names), 5)
    return made, list(made.rows(np.asarray(rows, "float64"), (np.asarray(answers, "float32"),)))


def test_rows_of_labels_by_name():
    """Columns of another order; those that the images lack are left out of the report."""
    task = SeveralLabels(["a", "b", "c"])
    made, rows = rows_of(task, [[0, 1], [1, 1]], "labels", ["c", "a"], [[0.75, 0.5, 0.25], [0.1, 0.6, 0.9]])
    assert made.heads == ["label", "predicted", "probability_a", "probability_b", "probability_c"]
    assert rows == [["a", "a", "0.75", "0.5", "0.25"], ["a; c", "b; c", "0.1", "0.6", "0.9"]]
    assert made.before() == ["these images have no labels called b: the report is of the others"]
    results = made.report.results()
    assert [(one["label"], one["positives"], one["predicted"]) for one in results["per_label"]] == [
        ("a", 2, 1), ("c", 1, 1),
    ]  # fmt: skip
    made, rows = rows_of(task, [[0.5]], "labels", ["d"], [[0.75, 0.5, 0.25]])
    assert made.report is None and rows == [["a", "0.75", "0.5", "0.25"]]
    assert made.before() == ["these images have no labels called a, b, c: there is no report"]
    made, rows = rows_of(task, [[0.5]], "numbers", ["a"], [[0.75, 0.5, 0.25]])
    assert made.report is None
    assert made.before() == ["the labels of these images are numbers, and the model tells labels: there is no report"]


def test_rows_of_numbers():
    """An image without a row in the table of labels has none, and is left out of the report."""
    task = Numbers(["a", "b"], (1.0, 2.0), (1.0, 1.0))
    made, rows = rows_of(task, [[1, 2.5], [np.nan, np.nan]], "numbers", ["b", "a"], [[1234567.25, 1], [0.1, 3]])
    assert made.heads == ["label_a", "label_b", "predicted_a", "predicted_b"]
    assert rows == [["2.5", "1", "1234567", "1"], ["", "", "0.1", "3"]]
    assert made.report.num_images == 1 and made.report.results()["per_output"][1]["mae_of_mean"] == 1
    made, rows = rows_of(task, [[4.0]], "numbers", ["b"], [[1, 2]])
    assert made.heads == ["label_b", "predicted_a", "predicted_b"] and rows == [["4", "1", "2"]]
    assert made.report.results()["per_output"][0]["mae_of_mean"] == 2  # the mean of b, 2
    bare = ArraySource(random_images(1, SHAPE))
    made = rows_for(task, trained("numbers", task.names), bare, 5)
    assert made.heads == ["predicted_a", "predicted_b"] and made.report is None and not made.before()
    assert list(made.rows(np.array([[-1.0]]), (np.array([[1, 2]], "float32"),))) == [["1", "2"]]


def test_a_head_in_no_runs_folder_has_numbers_for_names():
    model = ImageRegressor(small_encoder(SHAPE), 2, mean=[1, 2], std=[1, 3])
    task = task_of_head(model, TrainedModel("x.keras"))
    assert (task.names, task.mean) == (["0", "1"], (1, 2))
    made = rows_for(task, TrainedModel("x.keras"), source([[1, 2]], "numbers", ["p", "q"]), 5)
    assert made.heads == ["label_0", "label_1", "predicted_0", "predicted_1"]  # in the order of the images' columns
    with pytest.raises(ValueError, match="x.keras holds ViTEncoder, and predictions need an ImageClassifier or an Im"):
        task_of_head(small_encoder(SHAPE), TrainedModel("x.keras"))


@pytest.fixture
def data(tmp_path):
    values = np.arange(20)
    np.savez(tmp_path / "x.npz", images=random_images(20, SHAPE), age=values.astype("float32"), fold=values % 4)
    return f"npz:{tmp_path / 'x.npz'}"


def test_a_split_is_the_runs(data):
    """Whatever chose it: else images of the training would pass for others."""
    run = trained("numbers", ["age"], data=data, split_column="fold", validation_values="3")
    tested = open_predicted(run, "numbers", data, "validation")
    assert tested.required_labels()[:, 0].tolist() == [3, 7, 11, 15, 19]
    assert open_predicted(run, "numbers", data, "train").num_images == 15
    assert open_predicted(run, "numbers", data).required_labels()[:, 0].tolist() == list(range(20))


def test_labels_of_a_table(data, tmp_path):
    """The run's columns by default, or others by name; all images are predicted, also those without a row."""
    run = trained("numbers", ["age"])
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", "age", "years"], *([n, n / 2, n / 4] for n in range(15))])
    table = str(tmp_path / "t.csv")
    found = open_predicted(run, "numbers", data, labels=table)
    assert found.num_images == 20 and found.label_names == ["age"]
    np.testing.assert_array_equal(found.required_labels()[:, 0], [*np.arange(15) / 2, *[np.nan] * 5])
    found = open_predicted(run, "numbers", data, labels=table, label_columns="years")
    assert found.label_names == ["years"] and found.required_labels()[4, 0] == 1
    assert open_predicted(run, "numbers", data).required_labels()[4, 0] == 4  # those beside the images
    other = trained("numbers", ["size"])
    assert not open_predicted(other, "numbers", data).labelled  # nothing beside them is called so
    with pytest.raises(ValueError, match="t.csv: has no column 'size'"):
        open_predicted(other, "numbers", data, labels=table)
    with pytest.raises(ValueError, match="classes are in one column, and there are age, years: name it with --label_c"):
        open_predicted(TrainedModel("x.keras"), "classes", data, labels=table)
    own = trained("numbers", ["age"], data=data, labels=table)
    assert open_predicted(own, "numbers", data).required_labels()[4, 0] == 2  # the run's own table


def test_class_numbers_of_images_that_no_row_names(data, tmp_path):
    (tmp_path / "t.csv").write_text("image,kind\n0,cat\n3,dog\n")
    found = open_predicted(TrainedModel("x.keras"), "classes", data, labels=str(tmp_path / "t.csv"))
    assert found.class_names == ["cat", "dog"] and found.required_labels().tolist() == [0, -1, -1, 1, *[-1] * 16]
    assert open_source(data).labels is None
