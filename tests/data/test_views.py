"""Two views of every image."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, Augmentation, CorruptImages, FolderSource
from keras_mae.data.views import two_views
from keras_mae.example_seed import ExampleSeed
from tests.base import random_images
from tests.drawn import drawn, write_pictures

pytestmark = pytest.mark.usefixtures("png_and_jpeg")

SHAPE = (8, 8, 3)
CROPS = Augmentation((0.2, 1.0), flip=True)


def test_views_are_those_of_the_augmentation_and_the_same_in_every_pass():
    images = random_images(7, (12, 10, 3))
    source = ArraySource(images)
    batches = two_views(source, SHAPE, 3, CROPS, CorruptImages(source), seed=5)
    one, other = (list(batches.as_numpy_iterator()) for _ in range(2))
    assert [len(batch) for batch in one] == [6, 6, 2]
    views = np.concatenate(one)
    np.testing.assert_array_equal(views, np.concatenate(other))
    for index, image in enumerate(images):
        for number in range(2):
            expected = CROPS(tf.constant(image), SHAPE, ExampleSeed.of(5, number, index))
            np.testing.assert_array_equal(views[2 * index + number], expected)
    assert len(np.unique(views.reshape(14, -1), axis=0)) == 14


def test_both_views_of_a_corrupt_image_are_left_out(tmp_path, caplog):
    source = FolderSource(write_pictures(tmp_path, 6, size=(20, 24), corrupt=(2,)))
    corrupt = CorruptImages(source, tolerated=0.5)
    found = np.concatenate(list(two_views(source, SHAPE, 2, CROPS, corrupt).as_numpy_iterator()))
    good = [(tf.constant(drawn(20, 24, seed=index)), index) for index in (0, 1, 3, 4, 5)]
    expected = [CROPS(image, SHAPE, ExampleSeed.of(0, number, index)) for image, index in good for number in range(2)]
    np.testing.assert_array_equal(found, expected)
    assert list(corrupt.names) == [2]
