"""The last, smaller batch of an epoch, in parts; and batches that cannot be shared, before the first step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.training.batch_parts import check_batches, split
from tests.base import random_images, small_mae, weights_of
from tests.training.one_number import OneNumber


def fitted(data, parts, **arguments):
    mae = small_mae(num_layers=1, drop_path_rate=0.3, seed=3)
    mae.compile(optimizer=keras.optimizers.SGD(0.1), accumulation_steps=parts, **{"run_eagerly": True, **arguments})
    history = mae.fit(
        data, shuffle=False, verbose=0, **({} if isinstance(data, tf.data.Dataset) else {"batch_size": 8})
    )
    return mae, history.history


class Count(OneNumber):
    """The mean of what it is given, times a number."""

    def batch_loss(self, data, seed, training):
        return tf.reduce_mean(data) * tf.convert_to_tensor(self.number)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("last", [6, 5, 1])
def test_every_example_of_a_ragged_last_batch_counts_once(last, jit_compile):
    """8 in 4 parts, then 6 in 6, or fewer than there are parts."""
    numbers = np.arange(1.0, 9 + last, dtype="float32") ** 2
    model = Count()
    model.compile(optimizer=keras.optimizers.SGD(0.01), accumulation_steps=4, jit_compile=jit_compile)
    logged = model.fit(numbers, batch_size=8, shuffle=False, verbose=0).history["loss"][0]
    first, second = numbers[:8].mean(), numbers[8:].mean()
    after = 1 - 0.01 * first
    np.testing.assert_allclose(logged, (8 * first + last * second * after) / (8 + last), rtol=1e-6)
    np.testing.assert_allclose(model.number, after - 0.01 * second, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("last", "jit_compile"), [(6, False), (1, False), (6, True), (3, True)])
def test_a_ragged_last_batch_is_the_mean_over_the_examples_that_are_there(last, jit_compile):
    """8 in 4 parts of 2, then 6 in 6 of 1, or fewer than there are parts: to the roundings of two steps."""
    images = random_images(8 + last, (8, 12, 3))
    (got, history), (expected, whole) = (
        fitted(images, parts, run_eagerly=False, jit_compile=jit_compile) for parts in (4, 1)
    )
    np.testing.assert_allclose(history["loss"], whole["loss"], rtol=1e-6)
    for one, other in zip(weights_of(got), weights_of(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert int(got.optimizer.iterations) == 2 and history["skipped_steps"] == [0]


@pytest.mark.parametrize(
    ("size", "parts", "count", "length"),
    [(8, 4, 4, 2), (6, 4, 6, 1), (10, 4, 5, 2), (12, 4, 4, 3), (7, 2, 7, 1), (9, 2, 3, 3), (1, 4, 1, 1), (3, 4, 3, 1)],
)
def test_parts_are_equal_and_no_larger_than_those_of_a_whole_batch(size, parts, count, length):
    found = []

    @tf.function(input_signature=[tf.TensorSpec((None, 2)), tf.TensorSpec((None,))])
    def of(x, y):
        part_of, count, length = split((x, y, None), parts)
        found.append(part_of(0)[2])
        return count, length, *part_of(count - 1)[:2]

    x = np.arange(2 * size, dtype="float32").reshape(size, 2)
    got = of(x, x[:, 0])
    assert (int(got[0]), int(got[1])) == (count, length) and found == [None]
    np.testing.assert_array_equal(got[2], x[size - length :])
    np.testing.assert_array_equal(got[3], x[size - length :, 0])


IMAGES = random_images(22, (8, 12, 3))


@pytest.mark.parametrize(
    ("x", "arguments", "message"),
    [
        (IMAGES, (8, 0.0, 3, 1), "divisible by 1 replicas x accumulation_steps=3: got batch_size=8; the next .* is 9"),
        (IMAGES, (6, 0.0, 2, 2), "2 replicas x accumulation_steps=2: got batch_size=6; the next larger is 8"),
        (IMAGES[:19], (8, 0.0, 1, 2), "19 examples leave a last batch of 3 for 2 replicas; remove 1"),
        (IMAGES, (8, 0.5, 1, 2), "11 examples leave a last batch of 3"),
        (
            {"images": IMAGES[:5], "noise": IMAGES[:5, 0, 0]},
            (None, 0.0, 1, 4),
            "5 examples .* batch of 5 for 4 replicas",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_before_the_epoch(x, arguments, message):
    with pytest.raises(ValueError, match=message):
        check_batches(x, *arguments)


@pytest.mark.parametrize(
    "arguments", [(8, 0.0, 4, 1), (8, 0.0, 2, 2), (None, 0.0, 3, 1), (4, 0.0, 1, 2), (0, 0.0, 2, 1)]
)
def test_what_can_be_shared(arguments):
    check_batches(IMAGES, *arguments)
    check_batches(iter([IMAGES]), *arguments)
    check_batches(None, *arguments)


def test_fit_asks_before_it_begins():
    with pytest.raises(ValueError, match="divisible by 1 replicas x accumulation_steps=3: got batch_size=8"):
        fitted(IMAGES, 3)
    data = tf.data.Dataset.from_tensor_slices(IMAGES).batch(8, drop_remainder=True)
    with pytest.raises(ValueError, match="divisible by 1 replicas x accumulation_steps=3: got batch_size=8"):
        fitted(data, 3)


@pytest.mark.medium
def test_a_ragged_last_batch_of_an_eager_step_is_that_of_a_graph():
    images = IMAGES[:11]  # 8, then 3
    got, history = fitted(images, 4)
    expected, expected_history = fitted(images, 1)
    np.testing.assert_allclose(history["loss"], expected_history["loss"], rtol=1e-5)  # round-off of the sums
    for one, other in zip(got.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
