"""The setting that is turned on while calls are traced is the process's: it must come back as it was."""

import threading

import pytest
import tensorflow as tf

from keras_mae.data.rare_branch import traced_once

SETTING = "disable_meta_optimizer"


def rewriting_is_off():
    return tf.config.optimizer.get_experimental_options().get(SETTING, False)


@pytest.fixture(params=[False, True])
def before(request):
    was = rewriting_is_off()
    tf.config.optimizer.set_experimental_options({SETTING: request.param})
    yield request.param
    tf.config.optimizer.set_experimental_options({SETTING: was})


def test_comes_back_after_calls_within_calls_and_errors(before):
    seen = []

    @traced_once(tf.TensorSpec((), tf.int32))
    def inner(x):
        seen.append(rewriting_is_off())
        return x + 1

    @traced_once(tf.TensorSpec((), tf.int32))
    def outer(x):
        x = inner(x)
        seen.append(rewriting_is_off())
        return x

    @traced_once(tf.TensorSpec((), tf.int32))
    def failing(x):
        raise KeyError("while it is traced")

    assert int(outer(1)) == 2 and seen == [True, True] and rewriting_is_off() == before
    with pytest.raises(KeyError):
        failing(1)
    assert rewriting_is_off() == before


def test_comes_back_when_two_threads_trace_at_a_time(before):
    """The second begins while the first is on, and ends after it."""
    begun, go_on, results = threading.Event(), threading.Event(), []

    @traced_once(tf.TensorSpec((), tf.int32))
    def first(x):
        begun.set()
        assert go_on.wait(60)
        return x + 1

    @traced_once(tf.TensorSpec((), tf.int32))
    def second(x):
        go_on.set()
        one.join(60)
        return x + 2

    one = threading.Thread(target=lambda: results.append(int(first(1))))
    one.start()
    assert begun.wait(60)
    results.append(int(second(1)))
    one.join()
    assert sorted(results) == [2, 3] and rewriting_is_off() == before
