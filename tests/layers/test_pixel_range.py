"""The warning of float images that look like [0, 1]."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.layers.pixel_range import warn_if_unit_range
from tests.base import random_images, small_encoder, small_mae

UNIT = random_images(4, (8, 12, 3)).astype("float32") / 255
MESSAGE = r"expected in \[0, 255\], and these look like \[0, 1\]: multiply them by 255"

GIVEN = {
    "array": UNIT,
    "float64": UNIT.astype("float64"),
    "tensor": tf.constant(UNIT),
    "with labels": (UNIT, np.arange(4)),
    "dict": {"images": UNIT, "noise": np.zeros((4, 6))},
    "data set": tf.data.Dataset.from_tensor_slices(UNIT).batch(2),
    "data set with labels": tf.data.Dataset.from_tensor_slices((UNIT, np.arange(4))).batch(2),
    "data set of dicts": tf.data.Dataset.from_tensor_slices({"images": UNIT}).batch(2),
}


@pytest.mark.parametrize("inputs", GIVEN.values(), ids=GIVEN.keys())
def test_warns_once(inputs):
    with pytest.warns(UserWarning, match=MESSAGE):
        warn_if_unit_range(inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unit_range(inputs)


FINE = {
    "uint8": random_images(2, (4, 4, 1)),
    "dark uint8": np.ones((2, 4, 4, 1), "uint8"),
    "float levels": random_images(2, (4, 4, 1), dtype="float32"),
    "black": np.zeros((2, 4, 4, 1), "float32"),
    "empty": np.zeros((0, 4, 4, 1), "float32"),
    "generator": (image for image in UNIT),
    "none": None,
    "uint8 data set": tf.data.Dataset.from_tensor_slices(random_images(2, (4, 4, 1))).batch(2),
    "empty data set": tf.data.Dataset.from_tensor_slices(UNIT).take(0),
}


@pytest.mark.parametrize("inputs", FINE.values(), ids=FINE.keys())
def test_does_not_warn(inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unit_range(inputs)


def test_a_call_warns_once():
    encoder = small_encoder()
    with pytest.warns(UserWarning, match=MESSAGE) as caught:
        encoder(UNIT)
        encoder(UNIT)
    assert len([one for one in caught if "multiply them by 255" in str(one.message)]) == 1


def test_fit_warns():
    mae = small_mae()
    mae.compile(optimizer="sgd", run_eagerly=True)
    with pytest.warns(UserWarning, match=MESSAGE):
        mae.fit(UNIT, batch_size=4, verbose=0)
