"""Replicas with unequal shares of a batch: an assertion ends the step, and where XLA drops it, its loss is NaN."""

import json
import math

import pytest
import tensorflow as tf

from tests.base import run_forked

SHARES = {"equal": [2, 2, 2], "the last is smaller": [4, 4, 3], "the first has the mean": [2, 3, 1]}


def results(dropped):
    """For each of `SHARES` the loss on every replica, and what the fault says; or the error."""
    from keras_mae.training import equal_shares

    equal_shares.drops_assertions = lambda strategy: dropped
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1", "CPU:2"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    with strategy.scope():
        shares = equal_shares.EqualShares()

    def step(size):
        context = tf.distribute.get_replica_context()
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(size, tf.float32))
        return shares.checked(tf.constant(1.5), total, size)

    run = tf.function(lambda sizes: strategy.run(step, args=(sizes,)), autograph=False)
    found = []
    for sizes in SHARES.values():
        given = strategy.experimental_distribute_values_from_function(
            lambda context, sizes=sizes: tf.constant(sizes[context.replica_id_in_sync_group])
        )
        try:
            losses = [float(loss) for loss in strategy.experimental_local_results(run(given))]
            found.append([losses, shares.fault.told(), shares.fault.is_error])
        except tf.errors.InvalidArgumentError as error:
            found.append(error.message)
    return found


def children(_):
    from tests.forked import Child

    both = [Child(results, dropped, devices=3) for dropped in (False, True)]
    return [child.result() for child in both]


@pytest.mark.medium
def test_a_step_of_unequal_shares_is_noticed_with_and_without_assertions():
    process = run_forked("-m", "tests.forked", "tests.training.test_equal_shares", "shares")
    assert process.returncode == 0, process.stderr[-4000:]
    asserted, dropped = json.loads(process.stdout.split("RESULT", 1)[1])
    sentence = "the examples of a training batch must be divisible by the number of replicas"
    assert asserted[0] == dropped[0] == [[1.5] * 3, None, True]
    assert all(sentence in message for message in asserted[1:])
    for losses, told, is_error in dropped[1:]:
        assert all(map(math.isnan, losses)) and is_error
        assert told == f"{sentence}: drop the last, smaller one by batch(..., drop_remainder=True)"
