"""Maps of the tokens inside an encoder, of every kind of encoder: against `encode`, with drop path, and compiled."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from tests.base import fill_randomly, random_images, small_encoder
from tests.toys import ConvEncoder

IMAGES = random_images(16, (8, 12, 3))  # a grid of 2 x 3
SIMMIM = {"position_embedding": None, "relative_position_bias": "per_block", "layer_scale": 0.5}
FORMS = {
    "mae": {},
    "simmim": {**SIMMIM, "num_cls_tokens": 0},
    "simmim with a class token": {**SIMMIM, "relative_position_bias": "shared"},
    "registers and class tokens": {"num_cls_tokens": 2, "num_registers": 3, "position_embedding": "learned"},
    "dinov3": {"position_embedding": None, "rotary_temperature": 100.0, "num_registers": 2, "gated_mlp": True},
}


def encoder_of(form, **arguments):
    return small_encoder(num_layers=2, **{**FORMS[form], **arguments})


def normalised(encoder, one):
    """The last layer's map as `encode` returns it, in float32 `(B, rows, columns, D)`."""
    return tf.cast(encoder.norm(one), tf.float32).numpy()


def encoded(encoder, **arguments):
    return tf.cast(encoder.encode(IMAGES, **arguments).patches, tf.float32).numpy().reshape(16, 2, 3, -1)


@pytest.mark.parametrize("form", FORMS)
def test_the_last_map_is_what_encode_normalises(form):
    encoder = encoder_of(form)
    _, last = encoder.intermediates(IMAGES, [1, 2])
    np.testing.assert_allclose(normalised(encoder, last), encoded(encoder), atol=1e-5)  # sums in another order


@pytest.mark.parametrize("form", FORMS)
def test_drop_path_is_a_function_of_the_seed(form):
    encoder, seed = encoder_of(form, drop_path_rate=0.5), ExampleSeed.of(3, 7)
    first, last = encoder.intermediates(IMAGES, [1, 2], training=True, seed=seed)
    again = encoder.intermediates(IMAGES, [1, 2], training=True, seed=seed)[1]
    np.testing.assert_array_equal(last, again)
    np.testing.assert_allclose(normalised(encoder, last), encoded(encoder, training=True, seed=seed), atol=1e-5)
    plain_first, plain_last = encoder.intermediates(IMAGES, [1, 2], seed=seed)  # not in training: nothing is dropped
    np.testing.assert_array_equal(first, plain_first)  # the first block's rate is 0
    changed = np.abs(last - plain_last).max(axis=(1, 2, 3)) > 1e-3
    assert changed.all()  # a branch of the others is scaled by 2
    other = encoder.intermediates(IMAGES, [2], training=True, seed=ExampleSeed.of(4, 7))[0]
    assert (np.abs(other - last).max(axis=(1, 2, 3)) > 1e-3).any()


def test_tokens_of_a_layer_pass_the_seed_on():
    """In the base class as well, for encoders that say only how their maps come about."""

    class Seen(ConvEncoder):
        def intermediates(self, images, layers, training=False, seed=None):
            self.seen = (training, seed)
            return super().intermediates(images, layers, training, seed)

    encoder, seed = fill_randomly(Seen((8, 12, 3))), ExampleSeed.of(0, 0)
    encoder.features(IMAGES, layer=1, training=True, seed=seed)
    assert encoder.seen == (True, seed)


@pytest.mark.parametrize("form", FORMS)
def test_mixed_precision(form):
    encoder, exact = encoder_of(form, dtype="mixed_bfloat16"), encoder_of(form)
    exact.set_weights(encoder.get_weights())
    for half, full in zip(encoder.intermediates(IMAGES, [1, 2]), exact.intermediates(IMAGES, [1, 2]), strict=True):
        assert half.dtype == "bfloat16"
        # bfloat16 has 8 bits of a number, and these are sums of some 20
        np.testing.assert_allclose(tf.cast(half, tf.float32), full, atol=0.02 * np.abs(full).max())


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_compiled_with_a_batch_of_unknown_size(form):
    encoder, seed = encoder_of(form, drop_path_rate=0.5), ExampleSeed.of(3, 7)

    @tf.function(jit_compile=True, input_signature=[tf.TensorSpec((None, 8, 12, 3), tf.uint8)])
    def maps(images):
        return encoder.intermediates(images, [1, 2], training=True, seed=seed)

    got = maps(IMAGES)
    assert [one.shape for one in maps.get_concrete_function().structured_outputs] == [(None, 2, 3, 16)] * 2
    for one, expected in zip(got, encoder.intermediates(IMAGES, [1, 2], training=True, seed=seed), strict=True):
        np.testing.assert_allclose(one, expected, atol=2e-5)  # XLA adds up in another order
