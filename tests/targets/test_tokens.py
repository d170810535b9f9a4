"""Discrete tokens, under the contract of all targets; what a tokenizer may be, and what it may not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.masking import RandomMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder
from keras_mae.targets import TokenTarget
from tests.base import fill_randomly, geometry, random_images, small_encoder
from tests.contracts import TargetContract


def tokenizer(image_shape, patch_size, vocabulary_size):
    """Logits (B, rows, columns, vocabulary), each a function of its patch alone."""
    images = keras.Input(image_shape)
    cut = keras.layers.Conv2D(vocabulary_size, patch_size, strides=patch_size)
    return fill_randomly(keras.Model(images, cut(keras.layers.Rescaling(1 / 50.0, offset=-2.5)(images))))


class TestTokenTarget(TargetContract):
    invertible, discrete = False, True

    def make(self):
        return TokenTarget(tokenizer(self.image_shape, self.patch_size, 50), 50)


IMAGES = random_images(3, (8, 12, 3))


@pytest.mark.parametrize("form", ["logits, grid", "logits, sequence", "tokens, grid", "tokens, sequence", "dict"])
def test_forms_of_a_tokenizers_output(form):
    logits = tokenizer((8, 12, 3), (4, 4), 9)
    expected = np.asarray(logits(IMAGES.astype("float32"))).argmax(axis=-1).reshape(3, 6)
    output = logits.output
    if "tokens" in form:
        output = keras.ops.argmax(output, axis=-1)
    if "sequence" in form:
        output = keras.layers.Reshape((6, *output.shape[3:]))(output)
    target = TokenTarget(keras.Model(logits.inputs, {"x": output} if form == "dict" else output), 9)
    target.attach(geometry())
    assert len(np.unique(expected)) > 3
    np.testing.assert_array_equal(target(IMAGES), expected)


def token_mae(given):
    return MaskedAutoencoder(small_encoder(), MAEDecoder(12, 1, 3), RandomMasking(0.5), TokenTarget(given, 7))


@pytest.mark.medium
def test_a_keras_tokenizer_is_saved_with_the_model_and_not_trained(tmp_path):
    given = tokenizer((8, 12, 3), (4, 4), 7)
    before = [weight.numpy() for weight in given.weights]
    mae = token_mae(given)
    mae.compile(optimizer=keras.optimizers.AdamW(1e-2), run_eagerly=True)
    mae.fit(IMAGES, batch_size=3, epochs=2, verbose=0)
    for weight, old in zip(given.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    mae.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(copy.target(IMAGES), mae.target(IMAGES))
    np.testing.assert_array_equal(copy(IMAGES)["prediction"], mae(IMAGES)["prediction"])
    assert mae(IMAGES)["prediction"].shape == (3, 6, 7)
    with pytest.raises(ValueError, match="tokens cannot be drawn"):
        mae.reconstruct(IMAGES)


def test_a_saved_model_is_named_by_its_folder(tmp_path):
    given = tokenizer((8, 12, 3), (4, 4), 7)
    given.export(str(tmp_path / "tokenizer"), verbose=False)
    mae = token_mae(str(tmp_path / "tokenizer"))
    np.testing.assert_array_equal(mae.target(IMAGES), token_mae(given).target(IMAGES))
    assert not mae.target.trainable_variables
    mae.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(copy.target(IMAGES), mae.target(IMAGES))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: x[..., :4], "logits are 4 for each token, vocabulary_size is 7"),
        (lambda x: keras.ops.argmax(x, axis=-1)[:, :1], "gives 3 tokens an image, and the encoder has 6 patches"),
        (lambda x: keras.ops.argmax(x, axis=-1)[:, 0, 0], r"shape \(B, L\) or .*; got int\d\d"),
        (lambda x: {"one": x, "two": x}, "has one output, this one has one, two"),
    ],
)
def test_what_no_tokenizer_may_return(output, message):
    logits = tokenizer((8, 12, 3), (4, 4), 7)
    with pytest.raises(ValueError, match=message):
        TokenTarget(keras.Model(logits.inputs, output(logits.output)), 7).attach(geometry())


def test_floats_are_what_the_tokenizer_takes():
    seen = []

    class Look(keras.layers.Layer):
        def call(self, images):
            seen.append((images.dtype, float(tf.reduce_max(images))))
            return tf.zeros((tf.shape(images)[0], 6), tf.int64)

    target = TokenTarget(Look(), 3)
    target.attach(geometry())
    target(np.full((1, 8, 12, 3), 255, "uint8"))
    assert seen[-1] == (tf.float32, 255.0)
