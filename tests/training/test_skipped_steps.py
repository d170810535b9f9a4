"""Steps that were skipped show: in the loss, in the logs, and by the end of the run."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.models import ImageClassifier
from keras_mae.training import StopOnSkippedSteps
from keras_mae.training import skipped_steps as module
from tests.base import fill_randomly, random_images, random_noise, small_encoder, small_mae
from tests.training.one_number import OneNumber

IMAGES = random_images(4, (8, 12, 3), dtype="float32")
BROKEN = np.where(np.arange(4)[:, None, None, None] == 1, np.nan, IMAGES)  # one image of four


def compiled(**arguments):
    mae = small_mae()
    mae.compile(**{"optimizer": keras.optimizers.SGD(0.01), "run_eagerly": True, **arguments})
    return mae


class Count(OneNumber):
    """A model of one number, whose loss is the mean of what it is given: many steps take no time."""

    def batch_loss(self, data, seed, training):
        return tf.reduce_mean(tf.cast(data, tf.float32)) * tf.convert_to_tensor(self.number)


def counting():
    model = Count()
    model.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    return model


def numbers(*steps):
    """A batch of two for each step, not finite where it is 0."""
    return tf.data.Dataset.from_tensor_slices([[1.0, 2.0] if step else [float("nan"), 1.0] for step in steps])


def count(model, *epochs, **arguments):
    return model.fit(
        numbers(*sum(epochs, ())), epochs=len(epochs), steps_per_epoch=len(epochs[0]), verbose=0, **arguments
    ).history


def batches(*steps):
    """Each step's images, or broken ones where it is 0."""
    return tf.data.Dataset.from_tensor_slices(np.stack([IMAGES if step else BROKEN for step in steps]))


def fit(mae, *epochs, **arguments):
    return mae.fit(
        batches(*sum(epochs, ())), epochs=len(epochs), steps_per_epoch=len(epochs[0]), verbose=0, **arguments
    ).history


@pytest.mark.medium
def test_an_epoch_without_a_step_has_no_loss(tmp_path):
    """Keras' own callbacks do with it what they do with any NaN."""
    best = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), monitor="loss", save_best_only=True)
    mae = compiled()
    history = fit(mae, (1, 1), (0, 0), (1, 0), (0, 1), callbacks=[best])
    loss = history["loss"]
    assert np.isnan(loss).tolist() == [False, True, False, False]
    assert history["skipped_steps"] == [0, 2, 3, 4]  # since `compile`
    assert best.best == min(loss[0], loss[2], loss[3]) > 0
    alone = fit(compiled(optimizer=keras.optimizers.SGD(0.0)), (1, 0))["loss"][0]
    expected = compiled(optimizer=keras.optimizers.SGD(0.0)).train_on_batch(IMAGES)
    np.testing.assert_allclose(alone, expected, rtol=1e-6)  # the mean of the others
    assert mae.fit(batches(1), verbose=0).history["skipped_steps"] == [4]
    mae.compile(optimizer="sgd", run_eagerly=True)
    assert mae.fit(batches(1), verbose=0).history["skipped_steps"] == [0]


@pytest.mark.parametrize("eagerly", [True, pytest.param(False, marks=pytest.mark.medium)], ids=["eager", "graph"])
def test_terminate_on_nan(eagerly):
    stop = keras.callbacks.TerminateOnNaN()
    history = fit(compiled(run_eagerly=eagerly, jit_compile=False), (1, 1), (0, 0), (1, 1), callbacks=[stop])
    assert len(history["loss"]) == 2 and np.isnan(history["loss"][1]) and history["skipped_steps"] == [0, 1]


def test_gradients_that_are_not_finite_alone():
    """What float16 has while it looks for its scale: the loss is a number, and nothing to end a run for."""
    mae = compiled()
    original = mae.batch_loss

    @tf.custom_gradient
    def poisoned(x):
        return x, lambda upstream: upstream * float("inf")

    mae.batch_loss = lambda *arguments, **keywords: poisoned(original(*arguments, **keywords))
    seen = []
    record = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]))
    history = fit(mae, (1, 1), callbacks=[record, keras.callbacks.TerminateOnNaN()])
    assert len(seen) == 2 and np.all(np.isfinite(seen))
    assert np.isnan(history["loss"][0]) and history["skipped_steps"] == [2]


def test_an_accuracy_without_a_step_and_validation():
    """The validation's means are its own."""
    classifier = fill_randomly(ImageClassifier(small_encoder(), 4))
    classifier.compile(optimizer=keras.optimizers.SGD(0.01), run_eagerly=True)
    labels = np.arange(4)
    history = classifier.fit(BROKEN, labels, validation_data=(IMAGES, labels), batch_size=4, verbose=0).history
    assert np.isnan(history["accuracy"] + history["loss"]).all()
    assert np.isfinite(history["val_accuracy"] + history["val_loss"]).all()
    tested = classifier.evaluate(BROKEN, labels, verbose=0, return_dict=True)
    assert np.isnan(tested["loss"]) and np.isnan(tested["accuracy"])
    assert np.isnan(compiled().evaluate(BROKEN, verbose=0))
    assert np.isnan(compiled().train_on_batch(BROKEN))


def test_fit_ends_by_itself(caplog):
    """After 21 in a row, across epochs, in plain `fit`; not after 20 and a good one."""
    model = counting()
    with pytest.raises(ValueError, match="the last 21 steps, up to step 22, were skipped: .* Look at the images"):
        model.fit(numbers(1, *[0] * 40), epochs=3, verbose=0)
    assert int(model.skipped_steps) == 21
    told = [record.message for record in caplog.records if "skipped" in record.message]
    assert told[0] == "step 2 skipped: its loss or gradient is not finite (1 skipped so far)" and len(told) == 21
    assert count(counting(), (*[0] * 20, 1), (0, 1) * 10 + (1,))["skipped_steps"] == [20, 30]
    with pytest.raises(ValueError, match="the last 21 steps, up to step 21"):
        count(counting(), (0, 0, 0), *[(0, 0, 0)] * 10)


@pytest.mark.parametrize("as_list", [False, True], ids=["callbacks", "CallbackList"])
def test_ones_own_limit(as_list):
    def given(model, stop):
        stop = [keras.callbacks.LambdaCallback(), stop]
        return keras.callbacks.CallbackList(stop, add_history=True, model=model) if as_list else stop

    model = counting()
    with pytest.raises(ValueError, match="the last 3 steps, up to step 3"):
        model.fit(numbers(*[0] * 9), verbose=0, callbacks=given(model, StopOnSkippedSteps(2)))
    model = counting()
    history = model.fit(numbers(*[0] * 30), verbose=0, callbacks=given(model, StopOnSkippedSteps(None))).history
    assert history["skipped_steps"] == [30] and np.isnan(history["loss"][0])


def test_one_callback_and_a_list_of_callbacks_without_a_limit():
    model = counting()
    assert model.fit(numbers(0), verbose=0, callbacks=keras.callbacks.TerminateOnNaN()).history["skipped_steps"] == [1]
    callbacks = keras.callbacks.CallbackList([], add_history=True, model=model)
    assert model.fit(numbers(0), verbose=0, callbacks=callbacks).history["skipped_steps"] == [2]


def test_an_accelerator_is_not_waited_for_at_every_step(monkeypatch, caplog):
    """Every 16th step is looked at, and the end of an epoch; the limit is exact in multiples of that."""
    monkeypatch.setattr(module, "has_accelerator", lambda: True)
    looks = []
    original = StopOnSkippedSteps._counts
    monkeypatch.setattr(StopOnSkippedSteps, "_counts", lambda self: looks.append(1) or original(self))
    model = counting()
    with pytest.raises(ValueError, match="the last 32 steps, up to step 32, were skipped"):
        count(model, (0,) * 40)
    assert len(looks) == 3  # as training began, and after 16 and 32
    caplog.clear()
    assert count(counting(), (1, 0, 0, 1))["skipped_steps"] == [2]
    assert [r.message for r in caplog.records if r.levelno == logging.WARNING] == [
        "2 of the steps 1 to 4 skipped: loss or gradient is not finite (2 skipped so far)"
    ]


@pytest.mark.slow
def test_masks_with_wrong_counts_under_xla(caplog):
    """XLA drops the assertion that graph mode raises: the steps are skipped, counted and named."""
    noise = random_noise(4, 6)
    masks = {good: (noise >= (0.5 if good else 0.3)).astype("float32") for good in (True, False)}
    mae = compiled(run_eagerly=False, jit_compile=True)
    data = {"images": IMAGES, "mask": masks[True]}, {"images": IMAGES, "mask": masks[False]}
    history = [mae.fit(each, batch_size=4, epochs=2, verbose=0).history for each in data]
    assert np.isfinite(history[0]["loss"]).all() and history[0]["skipped_steps"] == [0, 0]
    assert np.isnan(history[1]["loss"]).all() and history[1]["skipped_steps"] == [1, 2]
    assert "step 3 skipped: masks hold 0 (visible) and 1 (masked)" in caplog.text
    with pytest.raises(ValueError, match=r"were skipped: masks hold 0 .*; those of batches with 4 images do not"):
        mae.fit(data[1], batch_size=4, epochs=30, verbose=0)
    assert np.isnan(mae.evaluate(data[1], verbose=0))
