"""What Keras offers in training, on every model that trains: callbacks, single batches, adapters in a graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.models import ImageHead
from keras_mae.optimizers import adamw
from tests.base import small_encoder, weights_of
from tests.models.keras_features import IMAGES, LABELS, MODELS, TRAINED, assert_same_values, table, trained, values


def train_on_batch(model, path):
    other = MODELS["SimMIM"]() if "simmim" in model.name else keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    for one in (model, other):
        one.compile(optimizer=keras.optimizers.SGD(0.05), run_eagerly=True)
    losses = []
    for _ in range(3):
        losses.append(float(np.ravel(model.train_on_batch(IMAGES, LABELS))[0]))
        model.reset_metrics()
    recorded = other.fit(IMAGES, LABELS, batch_size=4, epochs=3, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(losses, recorded, rtol=1e-6)
    model.reset_metrics()
    tested = float(np.ravel(model.test_on_batch(IMAGES, LABELS))[0])
    np.testing.assert_allclose(tested, other.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["loss"], rtol=1e-6)


def best_checkpoint(model, path):
    """The file of the best epoch is the model of then."""
    seen = []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((logs["val_loss"], values(self.model)))

    best = keras.callbacks.ModelCheckpoint(path / "best.keras", monitor="val_loss", save_best_only=True)
    trained(model, epochs=3, validation_data=(IMAGES, LABELS), callbacks=[Keep(), best])
    expected = min(seen, key=lambda pair: pair[0])[1]
    assert_same_values(keras.saving.load_model(path / "best.keras")(IMAGES), expected, 0)


def early_stopping(model, path):
    """A rate that only makes it worse: the weights of the first epoch come back."""
    seen = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(values(model)))
    stop = keras.callbacks.EarlyStopping("steps", mode="min", patience=1, restore_best_weights=True)

    class Worse(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["steps"] = epoch

    trained(model, epochs=5, callbacks=[keep, Worse(), stop])
    assert len(seen) == 2
    assert_same_values(model(IMAGES), seen[0], 0)


def backup(model, path):
    """Interrupted in the third epoch and begun again in another process: as if it had not been."""
    whole, again = (keras.models.clone_model(model) for _ in range(2))
    for one in (whole, again):
        one.set_weights(model.get_weights())

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    trained(whole, epochs=3)
    with pytest.raises(KeyboardInterrupt):
        trained(model, epochs=3, callbacks=[keras.callbacks.BackupAndRestore(path / "backup"), Interrupt()])
    trained(again, epochs=3, callbacks=[keras.callbacks.BackupAndRestore(path / "backup")])
    assert int(again.optimizer.iterations) == 6
    assert_same_values(weights_of(again), weights_of(whole), 1e-6)
    with pytest.raises(ValueError, match=r"BackupAndRestore\(save_freq=1\) goes on at the beginning of the epoch"):
        trained(model, callbacks=[keras.callbacks.BackupAndRestore(path / "other", save_freq=1)])


def tensorboard(model, path):
    trained(model, callbacks=[keras.callbacks.TensorBoard(path / "logs", histogram_freq=1, update_freq="batch")])
    (events,) = (path / "logs" / "train").glob("events*")
    tags = {value.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value}
    assert "epoch_loss" in tags and any("kernel" in tag for tag in tags)


def rates(model, path):
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=1e9)
    trained(model, epochs=3, callbacks=[schedule, plateau])
    np.testing.assert_allclose(float(model.optimizer.learning_rate), 0.05 * 0.5**3 * 0.1**2, rtol=1e-5)


def compute_loss(model, path):
    if isinstance(model, ImageHead):
        loss = model.compute_loss(IMAGES, LABELS, model(IMAGES))
        expected = keras.losses.sparse_categorical_crossentropy(LABELS, model(IMAGES), from_logits=True)
        np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)
        return
    with pytest.raises(ValueError, match=r"brings its own loss: .* take batch_loss\(data, seed, training\)"):
        model.compute_loss(IMAGES, LABELS, model(IMAGES))


def steps_per_execution(model, path):
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    histories = []
    for one, steps in ((model, 1), (other, 2)):
        one.compile(optimizer=keras.optimizers.SGD(0.05), steps_per_execution=steps, jit_compile=False)
        history = one.fit(IMAGES, LABELS, batch_size=1, shuffle=False, epochs=2, verbose=0).history
        histories.append(history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-5)
    assert_same_values(weights_of(model), weights_of(other), 1e-5)


IN_TRAINING = [
    train_on_batch,
    best_checkpoint,
    early_stopping,
    backup,
    tensorboard,
    rates,
    compute_loss,
]


@pytest.mark.parametrize(("feature", "name"), [*table(IN_TRAINING, TRAINED)])
def test_feature_in_training(feature, name, tmp_path):
    feature(MODELS[name](), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_steps_per_execution(name, tmp_path):
    steps_per_execution(MODELS[name](), tmp_path)


@pytest.mark.medium
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_adapters_in_a_graph_take_the_steps_of_eager_mode(jit_compile):
    """Also where layers have gradients of their own, and by the optimizer that knows the layers."""
    ends = []
    for eagerly in (True, False):
        classifier = MODELS["classifier"]()
        for layer in classifier.encoder._flatten_layers():
            if isinstance(layer, keras.layers.Dense):
                layer.enable_lora(2)
                layer.lora_kernel_a.assign(np.random.default_rng(0).normal(size=layer.lora_kernel_a.shape))
        optimizer = adamw(classifier, 0.01, layer_decay=0.8)
        classifier.compile(optimizer=optimizer, run_eagerly=eagerly, jit_compile=jit_compile and not eagerly)
        classifier.fit(IMAGES, LABELS, batch_size=4, epochs=3, verbose=0, shuffle=False)
        ends.append(values(classifier))
    np.testing.assert_allclose(
        *ends, rtol=1e-3, atol=1e-3
    )  # Adam's first steps are signs of round-off where it is flat


def test_an_encoder_is_a_keras_model_of_its_own():
    encoder = small_encoder()
    wanted = {name: np.zeros(value.shape, "float32") for name, value in encoder(IMAGES).items()}
    encoder.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", run_eagerly=True)
    first, *_, last = encoder.fit(IMAGES, wanted, epochs=3, verbose=0).history["loss"]
    expected = sum(np.mean(np.square(value)) for value in values(small_encoder()))
    assert last < first
    np.testing.assert_allclose(first, expected, rtol=1e-5)
