"""The decoder and the sizes that it has to know."""

import numpy as np
import pytest

from keras_mae.encoders import Tokens
from keras_mae.layers import sincos_position_embedding
from keras_mae.masking import Mask
from keras_mae.models import MAEDecoder, MaskedAutoencoder
from keras_mae.targets import PixelTarget
from tests.base import fill_randomly, geometry, random_noise, small_encoder
from tests.reference import from_keras, numpy_mae

GEOMETRY = geometry(target_dim=48)


def decoder(**overrides):
    return MAEDecoder(**{"hidden_dim": 12, "num_layers": 2, "num_heads": 3, **overrides})


def test_against_numpy():
    ours = decoder(position_embedding="learned")
    ours.attach(GEOMETRY)
    fill_randomly(ours)
    noise = random_noise(2, 6)
    mask = Mask.from_noise(noise, 2)
    tokens = np.random.default_rng(0).normal(size=(2, 3, 16)).astype("float32")
    weights = from_keras.decoder_weights(ours)
    expected = [
        numpy_mae.decode(one.astype("float64"), weights, numpy_mae.mask_from_noise(row, 2)[1])
        for one, row in zip(tokens, noise, strict=True)
    ]
    np.testing.assert_allclose(
        ours(Tokens(tokens[:, :1], tokens[:, 1:]), mask), expected, atol=1e-5
    )  # float32 through two blocks


def test_prefix_tokens_may_be_none_or_many():
    for prefix in (0, 2):
        ours = decoder()
        ours.attach(geometry(num_prefix_tokens=prefix, target_dim=48))
        fill_randomly(ours)
        tokens = np.random.default_rng(0).normal(size=(2, prefix + 2, 16)).astype("float32")
        tokens = Tokens(tokens[:, :prefix], tokens[:, prefix:])
        assert ours(tokens, Mask.from_noise(random_noise(2, 6), 2)).shape == (2, 6, 48)


def test_sincos_positions_have_the_temperature():
    for arguments, temperature in (({}, 10000.0), ({"position_temperature": 10.0}, 10.0)):
        ours = decoder(**arguments)
        ours.attach(GEOMETRY)
        np.testing.assert_array_equal(ours.positions.table, sincos_position_embedding((2, 3), 12, 1, temperature))


def test_mlp_is_four_times_as_wide_unless_told():
    assert decoder().mlp_dim == 48 and decoder(mlp_dim=20).mlp_dim == 20


def test_attaching_again_changes_nothing_or_is_refused():
    ours = decoder()
    ours.attach(GEOMETRY)
    weights = [id(weight) for weight in ours.weights]
    ours.attach(GEOMETRY)
    ours.attach(geometry(target_dim=np.int64(48)))
    assert weights == [id(weight) for weight in ours.weights] and ours.geometry is GEOMETRY
    with pytest.raises(
        ValueError, match=r"hidden_dim=16, grid=\(2, 3\), .*target_dim=48, and cannot serve .*make another decoder"
    ):
        ours.attach(geometry((12, 8, 3), target_dim=48))


def test_needs_the_sizes_around_it():
    with pytest.raises(ValueError, match="pass it to a model, or call attach"):
        decoder().build((None, None, 16))


def test_width_not_divisible_by_heads():
    with pytest.raises(ValueError, match="hidden_dim=12 and num_heads=5"):
        decoder(num_heads=5)


def test_a_decoder_or_target_of_another_model_is_refused():
    first, second = small_encoder(), small_encoder((8, 8, 3))
    ours, target = decoder(), PixelTarget()
    MaskedAutoencoder(first, ours, target=target)
    with pytest.raises(ValueError, match="make another decoder"):
        MaskedAutoencoder(second, ours)
    with pytest.raises(ValueError, match="make another target"):
        MaskedAutoencoder(second, decoder(), target=target)
    same_size = small_encoder(mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(ValueError, match="make another target"):
        MaskedAutoencoder(same_size, decoder(), target=target)  # its targets would change under the first model


def test_the_order_of_the_weights_is_that_of_earlier_versions():
    """States of optimizers are restored by it."""
    ours = decoder(num_layers=1)
    ours.attach(GEOMETRY)
    block = ("norm1", "norm1", "attention/qkv", "attention/qkv", "attention/projection", "attention/projection")
    block = (*block, "norm2", "norm2", "mlp_hidden", "mlp_hidden", "mlp_output", "mlp_output")
    owners = [variable.path.rpartition("/")[0].removeprefix("decoder").lstrip("/") for variable in ours.weights]
    assert owners == [
        "",
        "embedding",
        "embedding",
        *(f"block_0/{name}" for name in block),
        *["norm"] * 2,
        "positions",
        *["head"] * 2,
    ]
