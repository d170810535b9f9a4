"""The order of an epoch: a permutation, uniform, and near in storage where that is asked for."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data.pipeline import BLOCK, WINDOW, index_at


def order(seed, epoch, count, storage=None):
    return index_at(seed, tf.constant(epoch, tf.int64), tf.range(count, dtype=tf.int64), count, storage).numpy()


COUNT = WINDOW + 3 * BLOCK + 77
STORAGE = np.random.RandomState(0).permutation(COUNT)


@pytest.fixture(scope="module")
def orders():
    return {key: order(*key, COUNT, STORAGE) for key in [(1, 0), (1, 1), (2, 0)]}


def test_windows_make_a_permutation_that_differs_by_epoch_and_seed(orders):
    for found in orders.values():
        np.testing.assert_array_equal(np.sort(found), np.arange(COUNT))
    pairs = [(orders[1, 0] == other).mean() for key, other in orders.items() if key != (1, 0)]
    assert max(pairs) < 0.01


def test_a_window_reads_32_blocks(orders):
    place = np.empty(COUNT, int)
    place[STORAGE] = np.arange(COUNT)
    stored = place[orders[1, 0][:WINDOW]]
    begun = np.sort(stored)
    # runs of neighbouring records: every block is one, or two if it reaches over the end
    assert (np.diff(begun) > 1).sum() <= WINDOW // BLOCK + 1
    # and within the window neighbours in time are strangers in storage
    assert (np.abs(np.diff(stored)) < BLOCK).mean() < 0.1


def test_small_sets_are_shuffled_freely():
    storage = np.arange(50)[::-1].copy()
    np.testing.assert_array_equal(order(4, 2, 50, storage), order(4, 2, 50))


def test_several_places_at_once():
    epoch = tf.constant(3, tf.int64)
    places = tf.constant([5, 0, COUNT - 1, WINDOW, 7], tf.int64)
    for storage in (None, STORAGE):
        together = index_at(1, epoch, places, COUNT, storage).numpy()
        assert together.tolist() == [int(index_at(1, epoch, place, COUNT, storage)) for place in places]
