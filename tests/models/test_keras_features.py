"""What Keras offers, on every model: it gives the right value, or is refused with a sentence of ours."""

import importlib.util
import io

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.masking import BlockMasking, GridMasking, RandomMasking, UnitMasking
from keras_mae.models import ImageClassifier
from keras_mae.optimizers import adamw
from keras_mae.targets import PCATarget, PixelTarget
from tests.base import fill_randomly, random_images, small_encoder, small_mae, small_simmim, weights_of

IMAGES, LABELS = random_images(4, (8, 12, 3)), np.arange(4)
MODELS = {
    "encoder": small_encoder,
    "masked autoencoder": small_mae,
    "SimMIM": small_simmim,
    "classifier": lambda: fill_randomly(ImageClassifier(small_encoder(), 4)),
    "probe": lambda: fill_randomly(ImageClassifier(small_encoder(), 4, num_trainable_layers=0)),
}
TRAINED = [name for name in MODELS if name != "encoder"]


def values(model, images=IMAGES):
    return [np.asarray(output) for output in keras.tree.flatten(model(images))]


def assert_same_values(got, expected, tolerance=1e-5):
    """1e-5 for graphs: TensorFlow's fused kernels add up in another order."""
    got = keras.tree.flatten(got)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance, rtol=tolerance)


def trained(model, epochs=1, **arguments):
    if hasattr(model, "encoder"):
        if not model.compiled:
            model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), run_eagerly=True)
        model.fit(IMAGES, LABELS, batch_size=2, shuffle=False, epochs=epochs, verbose=0, **arguments)
    return model


def summary(model, path):
    lines = io.StringIO()
    model.build((None, 8, 12, 3))  # as one does before a summary; it changes nothing
    model.summary(line_length=140, expand_nested=True, print_fn=lambda line, **_: lines.write(line + "\n"))
    text = lines.getvalue()
    assert "?" not in text and "unbuilt" not in text and f"Total params: {model.count_params():,}" in text
    assert "(None, 6, 48)" in text and "(None, 7, 16)" in text  # patches, and tokens with the class token
    assert model.count_params() == sum(weight.numpy().size for weight in model.weights)


def plot(model, path):
    if importlib.util.find_spec("pydot") is None:
        with pytest.raises(ImportError, match="You must install pydot"):
            keras.utils.plot_model(model, path / "model.png")
    else:
        assert len(keras.utils.model_to_dot(model, show_shapes=True).get_nodes()) == 1


def export(model, path):
    model.export(path / "model", verbose=False)
    loaded = tf.saved_model.load(str(path / "model"))
    for images in (IMAGES, IMAGES[:1]):  # of any batch size
        got = loaded.serve(tf.constant(images, tf.float32))
        assert_same_values(keras.tree.flatten(got), values(model, images))


def export_after_fit(model, path):
    export(trained(model), path)


def export_after_loading(model, path):
    model.save(path / "model.keras")
    export(keras.saving.load_model(path / "model.keras"), path)


def other_exports(model, path):
    for form in ("onnx", "litert", "openvino"):
        with pytest.raises(ValueError, match=f"writes a SavedModel .*, got '{form}': keras_mae.export writes ONNX"):
            model.export(path / "model", format=form)
    assert not list(path.iterdir())


def quantize(model, path):
    before = weights_of(model)
    with pytest.raises(ValueError, match="cannot be quantized in place, as its file could not be loaded again"):
        model.quantize("int8")
    assert_same_values(weights_of(model), before, 0)
    patchify = getattr(model, "encoder", model).patchify
    with pytest.raises(ValueError, match="cannot be quantized in place"):
        patchify.quantize("int8")  # what Keras calls if the model is part of another


def functional(model, path):
    inputs = keras.Input((8, 12, 3))
    outer = keras.Model(inputs, model(inputs))
    assert_same_values(outer(IMAGES), values(model), 0)
    assert [tuple(output.shape[1:]) for output in keras.tree.flatten(outer.output)] == [
        value.shape[1:] for value in values(model)
    ]
    outer.save(path / "model.keras")
    assert_same_values(keras.saving.load_model(path / "model.keras")(IMAGES), values(model), 0)
    assert_same_values(keras.Sequential([keras.Input((8, 12, 3)), model])(IMAGES), values(model), 0)
    with pytest.raises(ValueError, match=r"expected images of shape \(batch, 8, 12, 3\)"):
        model(keras.Input((12, 8, 3)))


def clone(model, path):
    copy = keras.models.clone_model(model)
    before = weights_of(model)
    copy.set_weights(model.get_weights())
    assert_same_values(copy(IMAGES), values(model), 0)
    for weight in copy.weights:
        weight.assign(tf.zeros_like(weight))
    for weight, old in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def json(model, path):
    copy = keras.models.model_from_json(model.to_json())
    copy.set_weights(model.get_weights())
    assert_same_values(copy(IMAGES), values(model), 0)


def weights_file(model, path):
    model.save_weights(path / "model.weights.h5")
    other = fill_randomly(keras.models.clone_model(model), seed=5)
    other.load_weights(path / "model.weights.h5")
    assert_same_values(other(IMAGES), values(model), 0)


def get_layer(model, path):
    name = "vit_encoder" if hasattr(model, "encoder") else "block_0"
    assert model.get_layer(name) is (model.encoder if hasattr(model, "encoder") else model.blocks[0])
    assert model.get_layer(index=0) is model.layers[0]


def predict(model, path):
    assert_same_values(model.predict(IMAGES, batch_size=4, verbose=0), values(model))
    assert_same_values(model.predict_on_batch(IMAGES), values(model))


def calls_repeat(model, path):
    assert_same_values(model(IMAGES), values(model), 0)
    assert_same_values(tf.function(model)(IMAGES), values(model))


def shapes(model, path):
    outputs, claimed = model(IMAGES), model.compute_output_shape((4, 8, 12, 3))
    if isinstance(outputs, dict):
        assert claimed == {name: tuple(output.shape) for name, output in outputs.items()}
    else:
        assert claimed == tuple(outputs.shape)
    specs = keras.tree.flatten(model.compute_output_spec(keras.KerasTensor((4, 8, 12, 3))))
    assert [(spec.shape, spec.dtype) for spec in specs] == [(v.shape, v.dtype.name) for v in values(model)]


def lora(model, path):
    """Adapters alone are trained, of what they are added to; the file holds their sum."""
    denses = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dense)]
    trained_before = len(model.trainable_variables)
    for dense in denses:
        dense.enable_lora(2)
    kernels, first = [dense._kernel.numpy() for dense in denses], values(model)
    adapters = [dense.lora_kernel_b for dense in denses]
    trained(model)
    for dense, kernel in zip(denses, kernels, strict=True):
        np.testing.assert_array_equal(dense._kernel.numpy(), kernel)
    if hasattr(model, "encoder"):
        assert any(np.any(adapter.numpy()) for adapter in adapters)
        assert any((now != then).any() for now, then in zip(values(model), first, strict=True))
    model.save(path / "model.keras")
    merged = keras.saving.load_model(path / "model.keras")
    assert_same_values(merged(IMAGES), values(model), 1e-6)
    assert len(merged.trainable_variables) == trained_before  # a plain model, of which everything can be trained on
    model.save_weights(path / "model.weights.h5")
    expected = values(model)
    model.load_weights(path / "model.weights.h5")  # into adapters, which start anew and can be trained on
    assert_same_values(model(IMAGES), expected, 1e-6)
    assert all(np.any(dense.lora_kernel_a.numpy()) for dense in denses)


FEATURES = [
    summary,
    plot,
    export,
    export_after_fit,
    export_after_loading,
    other_exports,
    quantize,
    functional,
    clone,
    json,
    weights_file,
    get_layer,
    predict,
    calls_repeat,
    shapes,
    lora,
]


def table(features, names):
    """Every feature on every model; in the normal set each on one model, another one from feature to feature."""
    only_slow = ("export_after_fit", "best_checkpoint", "early_stopping")  # the others export, and come back, too
    for row, feature in enumerate(features):
        for column, name in enumerate(names):
            is_quick = column == row % len(names) and feature.__name__ not in only_slow
            mark = pytest.mark.medium if is_quick else pytest.mark.slow
            yield pytest.param(feature, name, marks=mark, id=f"{feature.__name__}-{name}")


@pytest.mark.parametrize(("feature", "name"), [*table(FEATURES, [*MODELS])])
def test_feature(feature, name, tmp_path):
    feature(MODELS[name](), tmp_path)


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
    first, *_, last = encoder.fit(IMAGES, wanted, epochs=5, verbose=0).history["loss"]
    expected = sum(np.mean(np.square(value)) for value in values(small_encoder()))
    assert last < first
    np.testing.assert_allclose(first, expected, rtol=1e-5)


def test_representations():
    sampler = UnitMasking(32, 0.6)
    assert repr(sampler) == "UnitMasking(unit=32, mask_ratio=0.6)"
    assert repr(RandomMasking(0.75)) == "RandomMasking(mask_ratio=0.75)"
    for sampler in (RandomMasking(), UnitMasking(), BlockMasking(), GridMasking()):
        again = eval(repr(sampler), {type(sampler).__name__: type(sampler)})  # noqa: S307 our own text
        assert again.get_config() == sampler.get_config()
    assert repr(PixelTarget(normalize=True)) == "PixelTarget(normalize=True)"
    assert repr(PCATarget(7)) == "PCATarget(num_components=7)"
