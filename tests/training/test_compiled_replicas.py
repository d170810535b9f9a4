"""Replicas whose parts of a step XLA compiles take the step of one device; in processes of their own."""

from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.training import compiled_model
from tests.base import small_mae
from tests.training.one_number import Levels
from tests.training.test_replicas import (
    BATCH,
    CLIPPED,
    IMAGES,
    SGD,
    STEPS,
    check,
    check_skipped,
    check_spike,
    find,
    in_own_process,
    one_run,
)

ONE = {"replicas": 1}
COMPILED = {"jit_compile": True, "replicas": 2}
NORMAL = [
    {"kind": "classifier", "replicas": 1, **SGD},
    {"kind": "classifier", **COMPILED, **SGD},
]
SLOW = [
    {"kind": "mae", "replicas": 1, **SGD},
    {"kind": "mae", "replicas": 1, **CLIPPED},
    {"kind": "mae", "replicas": 1, "optimizer": "late", "clip_norm": 0.3},
    {"kind": "mae", "replicas": 1, "optimizer": "sgd", "spike": 6},
    {"kind": "mae", **COMPILED, **SGD},
    {"kind": "mae", **COMPILED, "accumulation_steps": 2, **CLIPPED},
    {"kind": "mae", **COMPILED, "optimizer": "late", "clip_norm": 0.3},
    {"kind": "mae", **COMPILED, "optimizer": "late", "planted": 1, "dtype": "mixed_float16"},
    {"kind": "mae", **COMPILED, "optimizer": "sgd", "spike": 6},
    {"kind": "mae", **COMPILED, "optimizer": "sgd", "shared": True},
    {"kind": "mae", "jit_compile": True, "replicas": 1, "optimizer": "sgd", "mirrored": True},
    {"kind": "mae", **COMPILED, "optimizer": "sgd", "executions": 4},
]
HEADS = [{"kind": kind, **each, **SGD} for kind in ("weighted", "probe", "segmenter") for each in (ONE, COMPILED)]


def chosen_compilations():
    """`jit_compile` of models under a strategy, by what `compile` was given and whether there is an accelerator."""
    found, strategy = {}, tf.distribute.MirroredStrategy(["CPU:0"])
    given = {
        "auto": {},
        "True": {"jit_compile": True},
        "False": {"jit_compile": False},
        "eager": {"run_eagerly": True},
    }
    for accelerator in (False, True):
        with mock.patch.object(compiled_model, "has_accelerator", lambda accelerator=accelerator: accelerator):
            for name, arguments in given.items():
                with strategy.scope():
                    model = Levels(IMAGES.shape[1:])
                    model.compile(optimizer=keras.optimizers.SGD(0.1), **arguments)
                found[f"{name}, {accelerator}"] = bool(model.jit_compile)
    with strategy.scope():
        model = small_mae()
        model.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=True)
    found["predicts"] = list(model.predict(IMAGES, batch_size=BATCH, verbose=0)["prediction"].shape)
    return found


def children(which):
    from tests.forked import Child

    cases = {"normal": NORMAL, "slow": SLOW, "heads": HEADS}[which]
    runs = Child(lambda: [one_run(case) for case in cases], devices=2).result()
    return [runs, Child(chosen_compilations).result() if which == "normal" else None]


@pytest.fixture(scope="module")
def normal():
    return in_own_process("normal", __name__)


@pytest.fixture(scope="module")
def slow():
    return in_own_process("slow", __name__)[0]


@pytest.fixture(scope="module")
def heads():
    return in_own_process("heads", __name__)[0]


@pytest.mark.medium
def test_compiled_replicas_take_the_step_of_one(normal):
    """XLA compiles on each replica the gradients and their norm; the accuracy is that of the examples of both."""
    one, two = normal[0]
    assert (one["compiled"], two["compiled"]) == (0, 4) and not two["told"]
    assert any(0 < accuracy < 1 for accuracy in one["logs"]["accuracy"])
    check(two, one)


@pytest.mark.medium
def test_auto_compiles_under_a_strategy_with_an_accelerator(normal):
    chosen = normal[1]
    assert chosen.pop("predicts") == [len(IMAGES), 6, 48]
    compiled = {name for name, is_compiled in chosen.items() if is_compiled}
    assert len(chosen) == 8 and compiled == {"auto, True", "True, False", "True, True"}


@pytest.mark.slow
def test_a_masked_autoencoder(slow):
    check(find(slow, SLOW, kind="mae", **COMPILED, **SGD), find(slow, SLOW, kind="mae", replicas=1, **SGD))


@pytest.mark.slow
def test_in_parts_and_clipped(slow):
    check(find(slow, SLOW, **COMPILED, **CLIPPED), find(slow, SLOW, replicas=1, **CLIPPED))


@pytest.mark.slow
def test_the_update_of_our_optimizer_is_compiled_too(slow):
    """With an encoder that joins later, and to 2e-5 but for the key biases, as in test_replicas.py."""
    two = find(slow, SLOW, **COMPILED, optimizer="late", clip_norm=0.3)
    assert two["compiled"] == 6
    check(two, find(slow, SLOW, optimizer="late", replicas=1), 2e-5, key_biases=False)


@pytest.mark.slow
def test_a_step_is_skipped_on_both(slow):
    check_skipped(find(slow, SLOW, **COMPILED, planted=1), replicas=2)
    check_spike(*(find(slow, SLOW, replicas=replicas, spike=6) for replicas in (1, 2)))


@pytest.mark.slow
def test_one_mirrored_replica(slow):
    one = find(slow, SLOW, mirrored=True)
    assert one["compiled"] == 2
    check(one, find(slow, SLOW, kind="mae", replicas=1, **SGD))


@pytest.mark.slow
def test_executions_of_several_steps(slow):
    """Ten steps in executions of four: the logs are those of steps 4, 8 and 10."""
    two, expected = find(slow, SLOW, executions=4), find(slow, SLOW, kind="mae", replicas=1, **SGD)
    assert [step["number"] for step in two["steps"]] == list(range(1, STEPS + 1)) and len(two["losses"]) == 3
    np.testing.assert_allclose([step["loss"] for step in two["steps"]], expected["losses"], rtol=1e-5)
    for ours, theirs in zip(two["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_what_changes_a_shared_variable_is_not_compiled(slow):
    two = find(slow, SLOW, shared=True)
    assert two["compiled"] == 2  # the norms
    assert two["told"] and set(two["told"]) == {
        "a part of the step is not compiled, as it changes a variable that the replicas share: draw random numbers "
        "from the seed of the step, or update variables in after_update()"
    }
    check(two, find(slow, SLOW, kind="mae", replicas=1, **SGD))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "compiled"), [("weighted", 4), ("segmenter", 4), ("probe", 2)])
def test_heads(heads, kind, compiled):
    """The statistics of a probe's BatchNorm are those of both replicas, and its gradients are not compiled."""
    one, two = (find(heads, HEADS, kind=kind, **each) for each in (ONE, COMPILED))
    assert two["compiled"] == compiled
    check(two, one)
