"""Loss and gradient norm of every step, and spikes, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.training.step_record import KEPT
from tests.base import LossPerStep, random_images, small_mae, weights_of
from tests.training.test_skipped_steps import Count

IMAGES = random_images(4, (8, 12, 3))


def counted(norms, optimizer=None, **arguments):
    """A model of one number after steps whose gradients are these numbers, and what was recorded of the last 64."""
    model = Count()
    model.compile(optimizer=optimizer or keras.optimizers.SGD(0.0), jit_compile=False, **arguments)
    batches = tf.data.Dataset.from_tensor_slices(np.array(norms, "float32")[:, None])
    model.fit(batches, verbose=0, callbacks=[keras.callbacks.LambdaCallback()])
    return model, model.step_record.since(0, len(norms))


def expected(norms, factor):
    """Norms, medians before each, and what becomes of each step: plain Python."""
    ring, rows = [], []
    for norm in norms:
        finite = [one for one in ring[-KEPT:] if np.isfinite(one)]
        median = float(np.median(np.float32(finite))) if len(finite) >= 16 else None
        spike = median is not None and norm > factor * median
        rows.append((norm, median, "not finite" if not np.isfinite(norm) else "spike" if spike else None))
        ring.append(norm)
    return rows


def test_norms_medians_and_spikes_are_those_of_numpy():
    """Spikes, steps that are not finite, and norms that stay higher: more steps than the record holds."""
    rng = np.random.default_rng(0)
    norms = rng.uniform(1, 2, 150)
    norms[[10, 30, 31, 60]] = 50.0  # the first comes before there is a median
    norms[[5, 40]] = np.nan
    norms[90:] *= 10
    rows = expected(norms, 3.0)
    model, steps = counted(norms, spike_factor=3.0)
    assert [step.number for step in steps] == list(range(150 - KEPT + 1, 151))
    for step, (norm, median, skipped) in zip(steps, rows[-KEPT:], strict=True):
        assert (step.norm, step.skipped, step.clipped) == (pytest.approx(norm, rel=1e-6), skipped, None)
        assert step.loss == pytest.approx(norm, rel=1e-6) and step.median == pytest.approx(median, rel=1e-6)
    skipped = [skipped for _, _, skipped in rows]
    assert int(model.skipped_steps) == sum(map(bool, skipped))
    assert skipped[10] is None and skipped[30] == skipped[60] == "spike" and skipped[40] == "not finite"
    higher = skipped[90:].count("spike")
    assert 20 < higher <= 33 and skipped[-1] is None  # the median follows
    assert model.step_record.running_median() == pytest.approx(np.median(norms[-KEPT:]), rel=1e-6)


def test_spikes_in_a_row_end_no_run(caplog):
    """Each is named; `max_skipped_steps` is for steps that are not finite."""
    model, steps = counted([1.0] * 20 + [100.0] * 40, spike_factor=5.0)
    assert [step.skipped for step in steps].count("spike") == 20  # then half of the norms are high
    told = [record.message for record in caplog.records if "spike" in record.message]
    assert len(told) == 20
    assert told[0] == "step 21 skipped: its gradient norm 100 is 100.0 times the running median 1 (spike_factor=5)"
    assert int(model.skipped_steps) == 20


def test_too_few_norms_have_no_median():
    _, steps = counted([1.0] * 15 + [100.0], spike_factor=2.0)
    assert {step.median for step in steps} == {None} and {step.skipped for step in steps} == {None}
    _, steps = counted([1.0] * 16 + [100.0], spike_factor=2.0)
    assert steps[-1].median == 1.0 and steps[-1].skipped == "spike"
    model, steps = counted([1.0] * 16 + [100.0])  # off by default
    assert {step.median for step in steps} == {None} and int(model.skipped_steps) == 0


@pytest.mark.parametrize(("clip_norm", "bound"), [(None, 3.0), (2.5, 2.5), (10.0, 3.0)])
def test_a_spike_is_clipped_to_the_factor_times_the_median(clip_norm, bound, caplog):
    """Plain descent at rate 1: the number falls by each gradient."""
    model, steps = counted(
        [2.0] * 16 + [100.0], keras.optimizers.SGD(1.0), spike_factor=1.5, spike_action="clip", clip_norm=clip_norm
    )
    assert float(model.number.numpy()) == pytest.approx(1 - 16 * min(2.0, clip_norm or 2.0) - bound, abs=1e-5)
    assert steps[-1].clipped == "spike" and steps[-1].skipped is None and steps[-1].norm == pytest.approx(100)
    assert int(model.skipped_steps) == 0 and "step 17 clipped: its gradient norm 100 is 50.0 times" in caplog.text


def test_a_skipped_spike_leaves_everything_as_it_was():
    """Weights, momentum, the mean loss and float16's loss scale, bit for bit."""
    inner = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=64.0, dynamic_growth_steps=1000)
    model, states = Count(), []
    model.compile(optimizer=optimizer, jit_compile=False, spike_factor=3.0)

    def state(batch, logs):
        slots = [np.asarray(variable).copy() for variable in optimizer.variables]
        states.append([*weights_of(model), *slots, logs["loss"]])

    norms = [*np.linspace(1, 1.5, 18), 40.0, 1.2]
    batches = tf.data.Dataset.from_tensor_slices(np.array(norms, "float32")[:, None])
    model.fit(batches, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=state)])
    assert all(np.array_equal(a, b) for a, b in zip(states[17], states[18], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(states[18], states[19], strict=True))
    norm = model.step_record.since(0, 20)[18].norm
    assert norm == 40.0 * 1 and float(optimizer.dynamic_scale) == 64.0 and int(model.skipped_steps) == 1


@pytest.mark.medium
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["graph", "xla"])
def test_loss_and_norm_of_a_network(jit_compile):
    """In parts and with a scaled loss: the norm is that of the whole batch and of the plain loss, before clipping."""
    mae, reference = small_mae(seed=3), small_mae(seed=3)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0), initial_scale=256.0)
    mae.compile(optimizer=optimizer, jit_compile=jit_compile, accumulation_steps=2, clip_norm=0.01)
    recorder = LossPerStep()
    mae.fit(tf.data.Dataset.from_tensors(IMAGES).repeat(2), verbose=0, shuffle=False, callbacks=[recorder])
    for step, loss in zip(mae.step_record.since(0, 2), recorder.losses, strict=True):
        with tf.GradientTape() as tape:
            of_batch = reference.batch_loss(IMAGES, ExampleSeed.of(3, step.number - 1), training=True)
        gradients = tape.gradient(of_batch, reference.trainable_variables)
        norm = np.sqrt(sum(np.sum(np.square(np.asarray(gradient), dtype="float64")) for gradient in gradients))
        assert step.norm == pytest.approx(norm, rel=1e-5) and step.loss == pytest.approx(float(of_batch), rel=1e-5)
        assert step.loss == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spike_factor": 1.0}, "spike_factor is a multiple of the median norm of the gradient, above 1, or None; got"),
        ({"spike_action": "stop"}, "spike_action is 'skip' or 'clip'; got 'stop'"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Count().compile(**settings)


def test_settings_are_saved_with_the_model():
    model = Count()
    model.compile(optimizer="sgd", spike_factor=4.0, spike_action="clip")
    config = model.get_compile_config()
    assert (config["spike_factor"], config["spike_action"]) == (4.0, "clip")
