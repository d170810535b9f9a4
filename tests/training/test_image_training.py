"""What `compile` refuses, and that the loss is scaled wherever something computes in float16."""

import functools
import itertools

import keras
import numpy as np
import pytest

from keras_mae.masking import RandomMasking
from keras_mae.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, SimMIM
from tests.base import fill_randomly, random_images, random_noise, small_encoder, small_mae, small_simmim

IMAGES, NOISE = random_images(4, (8, 12, 3)), random_noise(4, 6)
LABELS = np.arange(4)
MAKE = {
    "MaskedAutoencoder": small_mae,
    "SimMIM": small_simmim,
    "ImageClassifier": lambda: ImageClassifier(small_encoder(), 4),
}


@pytest.mark.parametrize("name", ["MaskedAutoencoder", "SimMIM"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metrics": ["accuracy"]}, "metrics"),
        ({"metrics": [keras.metrics.MeanSquaredError()]}, "metrics"),
        ({"weighted_metrics": ["mae"]}, "weighted_metrics"),
        ({"loss": "mse"}, "loss"),
        ({"loss": keras.losses.MeanSquaredError(), "metrics": ["mae"]}, "loss` and `metrics"),
        ({"loss_weights": [1.0]}, "loss_weights"),
    ],
)
def test_own_losses_and_metrics_are_refused_at_once(name, given, said):
    with pytest.raises(ValueError, match=f"{name} brings its own loss and logs its own metrics: .* without `{said}`$"):
        MAKE[name]().compile("adam", **given)


def test_a_loss_in_the_second_place_is_one():
    with pytest.raises(ValueError, match="compile it without `loss`$"):
        small_mae().compile("adam", "mse")


@pytest.mark.parametrize("given", [{"sample_weight": np.ones(4)}, {"class_weight": {0: 2.0}}])
def test_autoencoders_weigh_all_images_alike(given):
    mae = small_mae()
    mae.compile(run_eagerly=True)
    with pytest.raises(
        ValueError, match="pretraining weighs all images alike: leave out sample_weight and class_weight"
    ):
        mae.fit(IMAGES, LABELS, verbose=0, **given)


POLICIES = ("float32", "mixed_float16", "mixed_bfloat16", "float64")


def of_policies(encoder, decoder, model):
    """A masked autoencoder of three policies, every weight random."""
    decoder = MAEDecoder(12, 1, 3, 20, dtype=decoder)
    return fill_randomly(MaskedAutoencoder(small_encoder(dtype=encoder), decoder, dtype=model))


def policy_cases():
    """All pairs of encoder and decoder, a few of them quick; with a policy given to the model as well, some."""
    for encoder, decoder, model in itertools.product(POLICIES, POLICIES, (None, "float32", "mixed_float16")):
        normal = model is None or encoder == decoder == "mixed_float16"
        quick = model is None and (encoder == decoder or {encoder, decoder} == {"float32", "mixed_float16"})
        mark = () if quick else pytest.mark.medium if normal else pytest.mark.slow
        yield pytest.param(encoder, decoder, model, marks=mark)


@functools.cache
def loss_in_float32():
    mae = of_policies("float32", "float32", "float32")
    return float(mae.batch_loss({"images": IMAGES, "noise": NOISE}, None, training=False))


@pytest.mark.parametrize(("encoder", "decoder", "model"), [*policy_cases()])
def test_all_combinations_of_policies(encoder, decoder, model):
    """The loss is that of float32, and scaled if anything computes in float16."""
    mae, inputs = of_policies(encoder, decoder, model), {"images": IMAGES, "noise": NOISE}
    assert mae.dtype_policy.name == (model or encoder)
    mae.compile(optimizer=keras.optimizers.SGD(0.01))
    scaled = "mixed_float16" in (encoder, decoder, model)
    assert isinstance(mae.optimizer, keras.optimizers.LossScaleOptimizer) == scaled
    loss = float(mae.batch_loss(inputs, None, training=False))
    bits = 8 if "mixed_bfloat16" in (encoder, decoder) else 11
    np.testing.assert_allclose(loss, loss_in_float32(), rtol=10 * 2.0**-bits)  # some ten roundings one after the other


@pytest.mark.medium
def test_small_gradients_survive_float16():
    """A loss of 1e-6 of the usual one: its gradients are below float16's smallest number, unless they are scaled."""
    moved = {}
    for scaled in (True, False):
        mae = of_policies("mixed_float16", "mixed_float16", None)
        mae.compile(optimizer=keras.optimizers.SGD(1e6), run_eagerly=True, auto_scale_loss=scaled)
        original = mae.batch_loss
        mae.batch_loss = lambda *args, original=original, **kwargs: original(*args, **kwargs) * 1e-6
        before = mae.encoder.patch_projection.kernel.numpy()
        mae.fit({"images": IMAGES, "noise": NOISE}, shuffle=False, verbose=0)
        moved[scaled] = np.mean(before != mae.encoder.patch_projection.kernel.numpy())
    assert moved[True] > 0.99 and moved[False] < 0.7


@pytest.mark.parametrize(
    "make",
    [
        lambda: ImageClassifier(small_encoder(dtype="mixed_float16"), 4),
        lambda: ImageClassifier(small_encoder(dtype="mixed_float16"), 4, num_trainable_layers=0),
        lambda: SimMIM(small_encoder(dtype="mixed_float16"), RandomMasking(0.5)),
    ],
)
def test_the_encoder_alone_decides_for_other_models(make):
    model = make()
    model.compile("sgd")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(model.optimizer.inner_optimizer, keras.optimizers.SGD)
    given = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0)
    model.compile(given)
    assert model.optimizer is given


def test_weights_in_float16_are_not_trained():
    for model in (
        small_mae(dtype="float16"),
        MaskedAutoencoder(small_encoder(), MAEDecoder(12, 1, 3, dtype="float16")),
        ImageClassifier(small_encoder(dtype="float16"), 4),
    ):
        with pytest.raises(ValueError, match="would keep weights in float16, .* take the dtype policy mixed_float16"):
            model.compile("sgd")


def test_accumulation_of_a_scaled_optimizer_is_refused_too():
    inner = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="give accumulation_steps to compile"):
        of_policies("mixed_float16", "mixed_float16", None).compile(inner)


def test_callbacks_know_that_accuracy_is_to_grow(tmp_path):
    """Keras looks for that among metrics that were given to `compile`, and fails after the first epoch."""
    classifier = ImageClassifier(small_encoder(), 3)
    classifier.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    images, path = random_images(6, (8, 12, 3)), tmp_path / "best.keras"
    best = keras.callbacks.ModelCheckpoint(path, monitor="val_accuracy", save_best_only=True)
    stop = keras.callbacks.EarlyStopping(monitor="accuracy")
    given = keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="min", patience=9)
    classes = np.argmax(classifier(images), axis=-1)
    classifier.fit(images, classes, validation_data=(images, classes), callbacks=[best, stop, given], verbose=0)
    assert best.best == 1.0 and path.exists()  # what it said is what the labels are
    assert (best.mode, stop.mode, given.mode) == ("max", "max", "min")
