"""`fit`: what it takes, that its step is the plain one, that it repeats, and its loss under XLA."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.models import ImageClassifier
from tests.base import (
    LossPerStep,
    fill_randomly,
    random_images,
    random_noise,
    run_forked,
    small_encoder,
    small_mae,
    small_simmim,
    weights_of,
)
from tests.training.one_number import shallow_mae

IMAGES = random_images(8, (8, 12, 3))
NOISE = random_noise(8, 6)
MASK = (NOISE >= 0.5).astype("int32")  # ranks 3, 4 and 5 of 6
LABELS = np.arange(8)


def losses_of_fit(model, data, learning_rate=0.1, epochs=1, **compile_arguments):
    """The loss of every step of `fit` on batches of 4, in order."""
    model.compile(optimizer=keras.optimizers.SGD(learning_rate), **{"run_eagerly": True, **compile_arguments})
    recorder = LossPerStep()
    arguments = {"shuffle": False} | ({} if isinstance(data, tf.data.Dataset) else {"batch_size": 4})
    x, *y = data if isinstance(data, tuple) else (data,)
    model.fit(x, *y, epochs=epochs, verbose=0, callbacks=[recorder], **arguments)
    return np.array(recorder.losses)


def batches(data):
    return tf.data.Dataset.from_tensor_slices(data).batch(4, drop_remainder=True)


INPUTS = {
    "images": IMAGES,
    "images and labels": (IMAGES, LABELS),
    "data set of images": batches(IMAGES),
    "data set of images and labels": batches((IMAGES, LABELS)),
}


@pytest.fixture(scope="module")
def first_losses():
    """Of two steps of an untrained model, with drawn masks, and with `NOISE`."""
    mae, steps = small_mae(), [*enumerate((slice(0, 4), slice(4, 8)))]
    given = [{"images": IMAGES[part], "noise": NOISE[part]} for _, part in steps]
    return {
        "drawn": [float(mae.batch_loss(IMAGES[part], ExampleSeed.of(0, n), training=True)) for n, part in steps],
        "given": [float(mae.batch_loss(one, ExampleSeed.of(0, 0), training=True)) for one in given],
    }


@pytest.mark.medium
@pytest.mark.parametrize("data", INPUTS.values(), ids=INPUTS)
def test_images_with_or_without_labels(data, first_losses):
    # a learning rate of zero: each step's loss is that of the first weights, with the masks of that step
    found = losses_of_fit(small_mae(), data, learning_rate=0.0)
    np.testing.assert_allclose(found, first_losses["drawn"], rtol=1e-6)


GIVEN = {
    "noise": {"images": IMAGES, "noise": NOISE},
    "mask": {"images": IMAGES, "mask": MASK},
    "data set with noise": batches({"images": IMAGES, "noise": NOISE}),
    "data set with masks": batches({"images": IMAGES, "mask": MASK}),
    "data set with noise and labels": batches(({"images": IMAGES, "noise": NOISE}, LABELS)),
}


@pytest.mark.medium
@pytest.mark.parametrize("data", GIVEN.values(), ids=GIVEN)
def test_dicts_with_noise_or_masks(data, first_losses):
    # 1e-5: a mask orders the visible patches otherwise than noise, and float32 sums follow that order
    found = losses_of_fit(small_mae(), data, learning_rate=0.0)
    np.testing.assert_allclose(found, first_losses["given"], rtol=1e-5)


@pytest.mark.medium
@pytest.mark.parametrize("make", [small_mae, small_simmim, lambda: fill_randomly(ImageClassifier(small_encoder(), 8))])
def test_arrays_of_16_bits_train_as_their_levels_do(make):
    images = np.random.default_rng(0).integers(0, 2**16, IMAGES.shape).astype("uint16")
    losses = [losses_of_fit(make(), (x, LABELS)) for x in (images, images / np.float32(257))]
    np.testing.assert_array_equal(*losses)
    assert len(set(losses[0])) == 2 and np.isfinite(losses).all()


def test_the_step_is_plain_gradient_descent():
    mae, reference = small_mae(), small_mae()
    losses = losses_of_fit(mae, {"images": IMAGES[:4], "noise": NOISE[:4]}, learning_rate=0.1)
    with tf.GradientTape() as tape:
        loss = reference.batch_loss({"images": IMAGES[:4], "noise": NOISE[:4]}, ExampleSeed.of(0, 0), training=True)
    variables = reference.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        variable.assign_sub(0.1 * gradient)
    np.testing.assert_array_equal(losses, [loss])
    for ours, theirs in zip(weights_of(mae), weights_of(reference), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)  # one rounding of numbers around 1


@pytest.mark.medium
def test_runs_repeat_by_seed_and_masks_change_from_step_to_step():
    first, again, other = (losses_of_fit(small_mae(seed=seed), IMAGES[:4], 0.0, epochs=3) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len({*first, *other}) == 6  # the same images, another mask each time


@pytest.mark.medium
def test_evaluate_gives_the_same_twice():
    mae = small_mae(num_layers=2, drop_path_rate=0.5)
    mae.compile(optimizer="sgd", run_eagerly=True)
    results = [mae.evaluate(IMAGES, batch_size=4, verbose=0) for _ in range(2)]
    assert results[0] == results[1]
    per_batch = [float(mae.batch_loss(IMAGES[s : s + 4], ExampleSeed.of(0, 0), training=False)) for s in (0, 4)]
    np.testing.assert_allclose(results[0], np.mean(per_batch), rtol=1e-6)


def test_the_logged_loss_is_the_mean_over_all_examples_so_far():
    """A last batch of 2 counts half as much as one of 4."""
    mae = small_mae()
    mae.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    logged = mae.fit(IMAGES[:6], batch_size=4, shuffle=False, verbose=0).history["loss"][0]
    losses = [
        float(mae.batch_loss(images, ExampleSeed.of(0, step), training=True))
        for step, images in enumerate((IMAGES[:4], IMAGES[4:6]))
    ]
    np.testing.assert_allclose(logged, (4 * losses[0] + 2 * losses[1]) / 6, rtol=1e-6)


def test_predict_takes_images_and_dicts():
    mae = small_mae()
    mae.compile(run_eagerly=True)
    for inputs in (IMAGES, {"images": IMAGES, "noise": NOISE}):
        outputs = mae.predict(inputs, batch_size=8, verbose=0)
        np.testing.assert_allclose(outputs["prediction"], mae(inputs)["prediction"], atol=1e-6)


@pytest.mark.medium
def test_the_masks_of_a_whole_run_can_be_had_again():
    """What a step drew is a function of (seed, step): drawn outside of `fit`, it gives the same loss."""
    mae = small_mae(seed=5)
    losses = losses_of_fit(mae, IMAGES, learning_rate=0.0, epochs=2)
    drawn = [mae.mask(IMAGES[:4], seed=ExampleSeed.of(5, step))[1].mask for step in (0, 2)]
    again = [
        mae.batch_loss({"images": IMAGES[:4], "mask": mask}, ExampleSeed.of(5, 0), training=True) for mask in drawn
    ]
    np.testing.assert_allclose(losses[[0, 2]], again, rtol=1e-5)  # a mask orders the visible patches otherwise


def graph_and_xla(make, data, **arguments):
    return [losses_of_fit(make(), data, run_eagerly=False, jit_compile=jit, **arguments) for jit in (False, True)]


@pytest.mark.medium
def test_the_loss_under_xla_is_that_of_graph_mode():
    """In a process of its own, where XLA compiles as for users: it reads its flags when it is first asked to."""
    program = "from tests.training import test_fit; test_fit.check_the_loss_under_xla()"
    process = run_forked("-c", program, XLA_FLAGS="")
    assert process.returncode == 0, process.stderr[-4000:]


def check_the_loss_under_xla():
    graph, xla = graph_and_xla(shallow_mae, batches(IMAGES), epochs=3)
    assert len(graph) == 6 and len(set(graph)) == 6
    # XLA sums in another order; over six steps of plain gradient descent that stays far below 1e-5
    np.testing.assert_allclose(xla, graph, rtol=1e-5)


@pytest.mark.medium
def test_a_bad_mask_shows_in_the_loss_under_xla():
    """XLA drops the assertion that graph mode raises: the loss becomes NaN instead of a number that means nothing."""
    mae = small_mae()

    @tf.function(jit_compile=True)
    def loss(mask):
        return mae.batch_loss({"images": IMAGES[:2], "mask": mask}, ExampleSeed.of(0, 0), training=False)

    good, bad = MASK[:2].astype("float32"), np.array([[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]], "float32")
    assert np.isfinite(loss(good)) and not mae.wrong_data()
    assert np.isnan(loss(bad))
    (sentence,) = mae.wrong_data()
    assert sentence.endswith("those of batches with 2 images do not")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["noise", "mask", "normalized", "learned", "classifier"])
def test_the_loss_under_xla_is_that_of_graph_mode_for_all_inputs(kind):
    data = {"noise": {"images": IMAGES, "noise": NOISE}, "mask": {"images": IMAGES, "mask": MASK}}
    arguments = {"normalized": {"normalize": True}, "learned": {"position_embedding": "learned"}}

    def make():
        if kind == "classifier":
            return fill_randomly(ImageClassifier(small_encoder(num_layers=2, drop_path_rate=0.2), 8))
        return small_mae(num_layers=2, drop_path_rate=0.2, **arguments.get(kind, {}))

    graph, xla = graph_and_xla(make, batches(data.get(kind, (IMAGES, LABELS))), epochs=3)
    np.testing.assert_allclose(xla, graph, rtol=1e-5)


@pytest.mark.medium
def test_graph_mode_is_eager_mode():
    eager, graph = (
        losses_of_fit(shallow_mae(), IMAGES, run_eagerly=eagerly, jit_compile=False) for eagerly in (True, False)
    )
    np.testing.assert_allclose(graph, eager, rtol=1e-5)  # other kernels, other sums


def test_bad_data_in_fit():
    mae = small_mae()
    for data, message in (
        ({"images": IMAGES, "masks": MASK}, "got the keys 'images', 'masks'"),
        ({"images": IMAGES, "noise": NOISE[:, :5]}, "noise holds one number a patch"),
        ({"images": IMAGES, "mask": (NOISE >= 0.3).astype("int32")}, "3 visible patches a row were expected"),
        (IMAGES[..., :1], "expected images of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            losses_of_fit(mae, data)
