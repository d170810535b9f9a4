"""Labels that are no classes: rows of several labels or of numbers, through subsets, batches and summaries."""

import numpy as np
import pytest

from keras_mae.data import ArraySource, Augmentation, Subset, TrainingData, evaluation_dataset
from keras_mae.data.seen import Seen
from tests.base import random_images

IMAGES = random_images(6, (4, 4, 1))
ROWS = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")


@pytest.fixture
def source():
    return ArraySource(IMAGES, ROWS, task="numbers", label_names=["age", "size"])


def test_rows_go_through_subsets_and_batches(source):
    part = Subset(source, np.array([4, 1, 5]))
    assert (part.task, part.label_names) == ("numbers", ["age", "size"])
    np.testing.assert_array_equal(part.labels, ROWS[[4, 1, 5]])
    assert part.read(1)["label"].numpy().tolist() == ROWS[1].tolist()
    _, rows = next(iter(evaluation_dataset(part, (4, 4, 1), 3, 1.0, with_labels=True)))
    np.testing.assert_array_equal(rows, ROWS[[4, 1, 5]])
    training = TrainingData(part, (4, 4, 1), 3, 0, Augmentation(None, False, 1.0), with_labels=True)
    images, rows = next(iter(training.at(2)))
    for image, row in zip(images.numpy(), rows.numpy()):
        assert row.tolist() == ROWS[[np.array_equal(image, one) for one in IMAGES]][0].tolist()


def test_the_summary_tells_other_numbers(source, tmp_path):
    before = Seen(source)
    assert before.summary["task"] == "numbers" and before.summary["label_names"] == ["age", "size"]
    before.write_images(str(tmp_path / "seen.gz"))
    other = ROWS.copy()
    other[3] = 1, 2.5
    now = Seen(ArraySource(IMAGES, other, task="numbers", label_names=["age", "size"]))
    change = now.changed_since(before.summary, str(tmp_path / "seen.gz"))
    assert change.startswith("1 image was relabelled: image ") and change.endswith(" to 1, 2.5)")
    renamed = Seen(ArraySource(IMAGES, ROWS, task="numbers", label_names=["age", "weight"]))
    assert "the labels are others" in renamed.changed_since(before.summary, str(tmp_path / "none"))


def test_bad_rows_and_no_classes(source):
    with pytest.raises(ValueError, match=r"numbers of 6 images are rows .* of label_names, here \['a'\]; got \(6, 2\)"):
        ArraySource(IMAGES, ROWS, task="numbers", label_names=["a"])
    with pytest.raises(ValueError, match="classes are needed, and the labels of these images are numbers"):
        source.num_classes  # noqa: B018
