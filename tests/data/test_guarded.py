"""Every pattern of images that cannot be read or decoded, against what a loop over them says."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_mae.data import patient_reading
from keras_mae.data.corrupt_images import CorruptImages, Fault
from keras_mae.data.guarded import RowMaker, guarded_reads, guarded_rows
from keras_mae.data.source import Source

COUNT = 60
GOOD, UNDECODABLE, MISSING = range(3)


class Faulty(Source):
    """Images of which each is as `states` says at the time; the bytes of an image are its number."""

    num_images, encoded = COUNT, True

    def __init__(self):
        self.states = tf.Variable(tf.zeros(COUNT, tf.int64), trainable=False)

    def read(self, index):
        state = tf.gather(self.states, index)
        with tf.control_dependencies([tf.Assert(state != MISSING, ["missing"])]):
            return {"image": tf.strings.as_string(index), "label": tf.identity(state)}

    def name_of(self, index):
        return str(index)


def make(position, example):
    with tf.control_dependencies([tf.Assert(example["label"] == GOOD, ["no image"])]):
        return {"position": position, "image": tf.strings.to_number(example["image"], tf.int64)}


@pytest.fixture(scope="module", autouse=True)
def no_waiting():
    """Nor for the storage, which works as long as any image can be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patient_reading, "ALONE", 0.0)
        patch.setattr(patient_reading, "_NEIGHBOURS", COUNT)
        yield


def stream(source, first, stop, batch_size, replace):
    """Position 5 is image 10, and so on: a round of the even images is 30 positions."""
    maker = RowMaker(source, lambda position: (position * 2) % COUNT, make)
    return guarded_rows(maker, first, stop, batch_size, replace)


def fields(batches, *names):
    """Some fields of all rows."""
    batches = list(batches.as_numpy_iterator())
    return [np.concatenate([batch[name] for batch in batches]) for name in names]


def code_of(state, index):
    fault = {UNDECODABLE: Fault.UNDECODABLE, MISSING: Fault.MISSING}
    return -1 if state == GOOD else int(CorruptImages.code(index, fault[state]))


some_good = st.lists(st.integers(GOOD, MISSING), min_size=COUNT, max_size=COUNT).filter(
    lambda states: GOOD in states[::2]  # of the even images, which are those that are asked for
)


@pytest.mark.medium
@pytest.mark.parametrize("first, batch_size, replace", [(0, 4, True), (5, 3, False), (2, 64, True), (0, 64, False)])
def test_every_pattern_of_faults(first, batch_size, replace):
    source, stop = Faulty(), 100
    rows = stream(source, first, stop, batch_size, replace)

    @settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow])
    @given(some_good)
    def check(states):
        source.states.assign(states)
        codes, positions, images = fields(rows, "fault", "position", "image")
        asked = [position * 2 % COUNT for position in range(first, stop)]
        good = [position for position, image in enumerate(asked, first) if states[image] == GOOD]
        if replace:  # until the last good one; its row stands for those before it that failed
            expected = [next(one for one in good if one >= position) for position in range(first, good[-1] + 1)]
        else:
            expected = [position if position in good else 0 for position in range(first, stop)]
        np.testing.assert_array_equal(positions, expected)
        np.testing.assert_array_equal(images, [one * 2 % COUNT if one in good else 0 for one in expected])
        np.testing.assert_array_equal(codes, [code_of(states[image], image) for image in asked[: len(expected)]])

    check()


@pytest.mark.medium
def test_where_all_fail():
    source = Faulty()
    source.states.assign(tf.fill([COUNT], tf.constant(UNDECODABLE, tf.int64)))
    (codes,) = fields(stream(source, 0, COUNT, 5, replace=False), "fault")
    assert (codes >= 0).all() and len(codes) == COUNT
    with pytest.raises(tf.errors.InvalidArgumentError, match="no image can be read and decoded, of many"):
        list(stream(source, 0, 10**15, 5, replace=True))


@pytest.mark.medium
def test_what_is_read():
    source = Faulty()
    missing = (3, 4, 11, COUNT - 1)
    source.states.assign([MISSING if image in missing else GOOD for image in range(COUNT)])
    reads = guarded_reads(source, lambda position: position, 0, COUNT, 5)
    codes, contents = fields(reads, "fault", "image")
    np.testing.assert_array_equal(codes, [code_of(MISSING if i in missing else GOOD, i) for i in range(COUNT)])
    assert contents.tolist() == [b"" if i in missing else str(i).encode() for i in range(COUNT)]


@pytest.mark.medium
def test_a_data_set_leaves_nothing_in_memory():
    """`Dataset.scan` puts its function into the default graph, which keeps it."""
    kept = tf.compat.v1.get_default_graph()._functions
    before = len(kept)
    stream(Faulty(), 0, COUNT, 5, replace=True)
    assert len(kept) == before
