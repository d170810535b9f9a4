"""The step on one replica: in parts, clipped, skipped when it is not finite, and what of it is saved."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.layers.kernels import COMPILED_KERNELS, GRAPH_KERNELS, TPU_KERNELS, XLA_KERNELS, use_kernels
from keras_mae.models import ImageClassifier, MaskedAutoencoder
from keras_mae.training import StopOnSkippedSteps, train_step
from tests.base import LossPerStep, fill_randomly, random_images, small_encoder, small_mae, weights_of
from tests.training.one_number import shallow_mae

IMAGES = random_images(8, (8, 12, 3))


class Planted(keras.callbacks.Callback):
    """Lets the loss of some steps of a model be infinite."""

    def __init__(self, model, steps):
        super().__init__()
        self.steps = tf.constant(steps, tf.int64)
        original = model.batch_loss

        def batch_loss(data, seed, training):
            planted = tf.reduce_any(self.steps == self.model.batches_seen)
            return original(data, seed, training) * tf.where(planted, float("inf"), 1.0)

        model.batch_loss = batch_loss


def trained(model, steps=2, optimizer=None, data=IMAGES, planted=None, callbacks=(), **compile_arguments):
    """The model, and the loss of each step on one and the same batch of 8."""
    optimizer = optimizer or keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer=optimizer, **{"run_eagerly": True, **compile_arguments})
    recorder = LossPerStep()
    callbacks = [recorder, *callbacks]
    if planted is not None:
        callbacks.append(Planted(model, planted))
    batches = tf.data.Dataset.from_tensors(data).repeat(steps)
    model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=callbacks)
    return model, np.array(recorder.losses)


def assert_same(one, other, tolerance=1e-6):
    for ours, theirs in zip(weights_of(one[0]), weights_of(other[0]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
    np.testing.assert_allclose(one[1], other[1], rtol=tolerance)


@pytest.fixture(scope="module")
def plain():
    """After two steps without more settings; never trained on."""
    return trained(shallow_mae())


@pytest.mark.medium
@pytest.mark.parametrize("parts", [2, 8])
def test_in_parts_is_the_whole_batch(parts, plain):
    """The same masks and drop path for each example, wherever it stands: sums in another order, over two steps."""
    assert_same(trained(shallow_mae(), accumulation_steps=parts), plain, 5e-6)


@pytest.mark.medium
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["graph", "xla"])
def test_in_parts_clipped_and_skipped_in_a_graph(jit_compile):
    """What `tf.function` makes of loops and branches: the eager step's numbers."""
    arguments = {"planted": [1], "clip_norm": 0.5, "steps": 4}
    expected = trained(shallow_mae(), **arguments)
    got = trained(shallow_mae(), run_eagerly=False, jit_compile=jit_compile, accumulation_steps=4, **arguments)
    assert_same(got, expected, 1e-5)
    assert int(got[0].skipped_steps) == 1 and int(got[0].optimizer.iterations) == 3


def test_clipping_cuts_the_global_norm():
    mae, reference = shallow_mae(), shallow_mae()
    trained(mae, steps=1, optimizer=keras.optimizers.SGD(1.0), clip_norm=0.5)
    with tf.GradientTape() as tape:
        loss = reference.batch_loss(IMAGES, ExampleSeed.of(3, 0), training=True)
    gradients = tape.gradient(loss, reference.trainable_variables)
    norm = np.sqrt(sum(np.sum(np.square(gradient)) for gradient in gradients))
    assert norm > 0.5  # it bites
    for before, gradient, after in zip(reference.trainable_variables, gradients, mae.trainable_variables, strict=True):
        np.testing.assert_allclose(after, before - gradient * 0.5 / norm, atol=1e-6)


@pytest.mark.medium
def test_a_norm_below_the_bound_changes_nothing(plain):
    assert_same(trained(shallow_mae(), clip_norm=1e6), plain, 0)


@pytest.mark.medium
@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD, keras.optimizers.AdamW])
def test_a_constant_loss_scale_is_taken_out_before_clipping(optimizer):
    scaled, plain = (
        trained(shallow_mae(), optimizer=optimizer(0.01, loss_scale_factor=factor), clip_norm=0.5)
        for factor in (1024.0, None)
    )
    assert_same(scaled, plain)  # a power of two


def test_a_step_that_is_not_finite_leaves_everything_as_it_was():
    mae = shallow_mae()
    before = weights_of(mae)
    optimizer = keras.optimizers.AdamW(0.1)
    _, losses = trained(mae, steps=2, optimizer=optimizer, planted=[0, 1])
    assert all((a == b).all() for a, b in zip(weights_of(mae), before, strict=True))
    assert all(np.all(np.asarray(slot) == 0) for slot in optimizer.variables if slot.path.endswith("momentum"))
    assert int(optimizer.iterations) == 0 and int(mae.skipped_steps) == 2 and int(mae.batches_seen) == 2
    np.testing.assert_array_equal(losses, [np.inf, np.inf])  # nothing entered the mean: each step's own


def test_a_skipped_batch_is_not_drawn_again_and_does_not_enter_the_mean():
    mae = shallow_mae()
    batches = tf.data.Dataset.from_tensors(IMAGES).repeat(3)
    mae.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    logged = mae.fit(batches, verbose=0, shuffle=False, callbacks=[Planted(mae, [1])]).history["loss"][0]
    losses = [float(shallow_mae().batch_loss(IMAGES, ExampleSeed.of(3, step), training=True)) for step in (0, 2)]
    np.testing.assert_allclose(logged, np.mean(losses), rtol=1e-6)


def test_a_gradient_that_is_not_finite_is_enough():
    mae = shallow_mae()
    original = mae.batch_loss

    @tf.custom_gradient
    def poisoned(x):
        return x, lambda upstream: upstream * float("nan")

    mae.batch_loss = lambda *arguments, **keywords: poisoned(original(*arguments, **keywords))
    before = weights_of(mae)
    trained(mae, steps=1)
    assert int(mae.skipped_steps) == 1
    assert all((a == b).all() for a, b in zip(weights_of(mae), before, strict=True))


@pytest.mark.parametrize("layers", [0, None], ids=["probe", "fine-tuning"])
def test_a_skipped_step_enters_no_statistic(layers):
    """Neither the probe's BatchNorm nor the accuracy."""

    def classifier():
        return fill_randomly(ImageClassifier(small_encoder(), 4, num_trainable_layers=layers))

    data = (IMAGES, np.arange(8) % 4)
    skipped, before = classifier(), weights_of(classifier())
    trained(skipped, steps=2, data=data, planted=[0, 1])
    assert all((a == b).all() for a, b in zip(weights_of(skipped), before, strict=True))
    assert np.isnan(skipped.get_metrics_result()["accuracy"])  # the mean of nothing
    plain = classifier()
    trained(plain, steps=1, data=data)
    assert any((a != b).any() for a, b in zip(weights_of(plain), before, strict=True))


@pytest.mark.medium
def test_float16_halves_its_scale_for_a_skipped_step_and_doubles_it_after_enough_good_ones():
    mae = shallow_mae(dtype="mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.01), initial_scale=64.0, dynamic_growth_steps=2
    )
    scales = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: scales.append(float(optimizer.dynamic_scale))
    )
    trained(mae, steps=6, optimizer=optimizer, planted=[1], callbacks=[record])
    assert scales == [64, 32, 32, 64, 64, 128]
    assert int(mae.skipped_steps) == 1 and int(optimizer.iterations) == 5


@pytest.mark.medium
def test_float16_is_scaled_and_unscaled_by_the_same_number():
    """A scale of 2^10 shifts exponents, and changes nothing in float32."""
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=1024.0)
    assert_same(
        trained(shallow_mae(), optimizer=scaled, clip_norm=0.5),
        trained(shallow_mae(), optimizer=keras.optimizers.SGD(0.1), clip_norm=0.5),
    )


@pytest.mark.medium
def test_too_many_skipped_steps_in_a_row_end_the_run(caplog):
    mae = shallow_mae()
    stop = StopOnSkippedSteps(2, last_good=lambda: "the last good checkpoint is here")
    message = (
        "the last 3 steps, up to step 6, were skipped: their loss or gradient was not finite; "
        "the last good checkpoint is here. Look at the images, lower the learning rate"
    )
    with pytest.raises(ValueError, match=message):
        trained(mae, steps=9, planted=[0, 1, 3, 4, 5, 6], callbacks=[stop])
    warned = [record.message for record in caplog.records if record.name == "keras_mae"]
    assert warned[0] == "step 1 skipped: its loss or gradient is not finite (1 skipped so far)"
    assert len(warned) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulation_steps": 0}, "accumulation_steps counts the parts of a batch, from 1 on; got 0"),
        ({"clip_norm": 0.0}, "clip_norm is a positive bound on the gradient's norm, or None; got 0.0"),
        (
            {"optimizer": keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)},
            "give accumulation_steps to compile in place of gradient_accumulation_steps",
        ),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        small_mae().compile(**settings)


def test_batch_norm_is_not_accumulated():
    probe = ImageClassifier(small_encoder(), 4, num_trainable_layers=0)
    with pytest.raises(ValueError, match="has a BatchNorm, whose statistics would be those of a part"):
        probe.compile(accumulation_steps=2)


def test_a_batch_that_cannot_be_parted():
    with pytest.raises(ValueError, match="divisible by .*accumulation_steps=3.* got .*8"):
        trained(shallow_mae(), accumulation_steps=3)


@pytest.mark.medium
def test_settings_are_saved_with_the_model(tmp_path):
    mae = small_mae()
    mae.compile(optimizer=keras.optimizers.AdamW(0.01), accumulation_steps=2, clip_norm=0.5, run_eagerly=True)
    mae.fit(IMAGES, batch_size=8, shuffle=False, verbose=0)
    mae.save(tmp_path / "mae.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = keras.saving.load_model(tmp_path / "mae.keras")
    assert isinstance(loaded, MaskedAutoencoder)
    assert (loaded.accumulation_steps, loaded.clip_norm) == (2, 0.5)
    assert int(loaded.optimizer.iterations) == 1
    for model in (mae, loaded):
        model.fit(IMAGES, batch_size=8, shuffle=False, verbose=0)
    assert_same((loaded, []), (mae, []), 0)


@pytest.mark.medium
def test_a_checkpoint_holds_the_count_of_skipped_steps(tmp_path):
    mae, other = shallow_mae(), shallow_mae()
    trained(mae, steps=2, planted=[1])
    path = tf.train.Checkpoint(model=mae, optimizer=mae.optimizer).save(str(tmp_path / "state"))
    other.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
    tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(path).expect_partial()
    assert int(other.skipped_steps) == 1 and int(other.batches_seen) == 2
    assert not any("skipped" in weight.path for weight in mae.weights)  # no weight of the model


def test_which_kernels_a_step_has(monkeypatch):
    """On a processor those of a graph, in a graph alone; on an accelerator those of a compiled step, compiled alone."""
    mae, found = small_mae(num_layers=1), {}
    mae.batch_loss = lambda data, seed, training: tf.reduce_sum(mae.trainable_variables[0].value)
    optimizer = keras.optimizers.SGD(0.1)

    def noted(kernels):
        found[case] = kernels
        return use_kernels(kernels)

    monkeypatch.setattr(train_step, "use_kernels", noted)
    for device in ("processor", "accelerator"):
        monkeypatch.setattr(train_step, "has_accelerator", lambda device=device: device == "accelerator")
        for case in ((device, "graph"), (device, "compiled")):
            jit_compile = case[1] == "compiled"
            mae.compile(optimizer=optimizer, jit_compile=jit_compile)
            mae.optimizer.build(mae.trainable_variables)
            step = tf.function(mae.train_step, autograph=False, jit_compile=jit_compile)
            step.get_concrete_function(tf.TensorSpec(IMAGES.shape, IMAGES.dtype))
    case = (device, "eager")
    mae.train_step(IMAGES)
    assert found == {
        ("processor", "graph"): GRAPH_KERNELS,
        ("processor", "compiled"): XLA_KERNELS,
        ("accelerator", "graph"): None,
        ("accelerator", "compiled"): COMPILED_KERNELS,
        ("accelerator", "eager"): None,
    }
    tpus = object.__new__(tf.distribute.TPUStrategy)  # not connected to any
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: tpus)
    with tf.Graph().as_default():
        assert mae._kernels(8) is TPU_KERNELS
