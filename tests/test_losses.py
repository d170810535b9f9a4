"""The losses over masked patches, worked by hand, and what goes with what."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.losses import MaskedCrossEntropy, MaskedL1, MaskedMeanSquaredError
from keras_mae.masking import RandomMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder, SimMIM
from keras_mae.targets import PCATarget, PixelTarget, TokenTarget
from tests.base import fill_randomly, geometry, random_images, small_encoder

TARGET = np.array([[[1.0, 2.0, 0.0], [3.0, 4.0, 6.0]]], "float32")
PREDICTION = np.array([[[0.0, 4.0, 0.0], [3.0, 1.0, 6.0]]], "float32")


def l1(channels=3):
    loss = MaskedL1()
    loss.attach(geometry((8, 12, channels)))
    return loss


def test_mean_squared_error():
    np.testing.assert_allclose(MaskedMeanSquaredError()(TARGET, PREDICTION), ((1 + 4) / 3 + 9 / 3) / 2)


def test_l1_divides_by_pixels_and_channels():
    """Two patches of one pixel of three channels: the sum, by two pixels and 1e-5, by three channels."""
    np.testing.assert_allclose(l1()(TARGET, PREDICTION), (1 + 2 + 3) / (2 + 1e-5) / 3, rtol=1e-6)
    with pytest.raises(ValueError, match="pass it to a model, or call attach"):
        MaskedL1()(TARGET, PREDICTION)
    with pytest.raises(ValueError, match="a model of 3 channels, and cannot serve one of 1; make another loss"):
        loss = l1()
        loss.attach(geometry((8, 12, 1)))


def test_cross_entropy():
    logits = np.random.default_rng(0).normal(size=(2, 3, 5))
    tokens = np.array([[0, 4, 2], [1, 1, 3]])
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = -np.log(np.take_along_axis(shares, tokens[..., None], axis=-1)).mean()
    np.testing.assert_allclose(MaskedCrossEntropy()(tokens, logits), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", [MaskedMeanSquaredError, MaskedL1, MaskedCrossEntropy])
def test_every_loss(kind):
    """A float32 scalar whatever is predicted in, 0 of no patch; the config gives it back."""
    loss = l1() if kind is MaskedL1 else kind()
    target = np.array([[1, 0]]) if loss.takes_tokens else np.full((1, 2, 3), 2e4, "float32")
    value = loss(target, tf.fill((1, 2, 3), tf.constant(300.0, tf.float16)))  # its square overflows float16
    assert value.shape == () and value.dtype == tf.float32 and np.isfinite(value)
    assert float(loss(target[:, :0], tf.zeros((1, 0, 3)))) == 0
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is type(loss) and repr(copy) == f"{type(loss).__name__}()"


def tokens_target():
    tokenizer = keras.Sequential([keras.Input((8, 12, 3)), keras.layers.Conv2D(7, 4, 4)])
    return TokenTarget(fill_randomly(tokenizer), 7)


def method(kind, target, loss=None):
    if kind == "simmim":
        return SimMIM(small_encoder(), RandomMasking(0.5), target, loss)
    return MaskedAutoencoder(small_encoder(), MAEDecoder(12, 1, 3), RandomMasking(0.5), target, loss)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("mae", PixelTarget),
        ("simmim", lambda: PCATarget(5)),
        ("mae", tokens_target),
        pytest.param("simmim", PixelTarget, marks=pytest.mark.slow),
        pytest.param("mae", lambda: PCATarget(5), marks=pytest.mark.slow),
        pytest.param("simmim", tokens_target, marks=pytest.mark.slow),
    ],
)
def test_any_target_goes_with_either_method(kind, target):
    keras.utils.set_random_seed(0)  # few images and steps: the loss falls from most weights, not from all
    images = random_images(3, (8, 12, 3))
    model = method(kind, target())
    if model.target.needs_fit:
        model.target.fit(images)
    expected = MaskedCrossEntropy if model.target.gives_tokens else MaskedL1 if kind == "simmim" else None
    assert isinstance(model.masked_loss, expected or MaskedMeanSquaredError)
    model.compile(keras.optimizers.AdamW(1e-2), run_eagerly=True)
    losses = model.fit(images, epochs=4, batch_size=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_a_loss_that_was_asked_for_is_taken_and_saved(tmp_path):
    mae = method("mae", PixelTarget(), MaskedL1())
    mae.save(tmp_path / "mae.keras")
    assert isinstance(keras.saving.load_model(tmp_path / "mae.keras").masked_loss, MaskedL1)


@pytest.mark.parametrize(
    ("target", "loss", "message"),
    [
        (
            PixelTarget,
            MaskedCrossEntropy,
            r"MaskedCrossEntropy\(\) measures tokens, and PixelTarget\(normalize=False\) gives num",
        ),
        (
            tokens_target,
            MaskedL1,
            r"MaskedL1\(\) measures numbers, and TokenTarget\(.*\) gives tokens: choose a loss that fits the target",
        ),
    ],
)
def test_what_does_not_go_together(target, loss, message):
    with pytest.raises(ValueError, match=message):
        method("mae", target(), loss())
