"""The pyramid against a form of it in PyTorch, its sizes, and what it refuses."""

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from hypothesis import strategies
from torch.nn import functional

from keras_mae.layers import FeaturePyramid
from tests.base import fill_randomly

FEATURES = np.random.default_rng(0).normal(size=(2, 4, 6, 16)).astype("float32")
ODD = np.random.default_rng(1).normal(size=(2, 5, 3, 16)).astype("float32")


def made(features=FEATURES, **arguments):
    pyramid = FeaturePyramid(**{"dim": 8, **arguments})
    pyramid.build(features.shape)
    return fill_randomly(pyramid)


def torch_maps(pyramid, features):
    """The same maps by PyTorch's functions, `(B, rows, columns, dim)`, from the weights by their paths."""
    weights = {weight.path.partition("/")[2]: torch.tensor(weight.numpy()) for weight in pyramid.weights}

    def deconvolved(x, name):
        kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1)  # (width, half of it, 2, 2)
        return functional.conv_transpose2d(x, kernel, weights[f"{name}/bias"], stride=2)

    def normalised(x, name):
        gain, offset = weights[f"{name}/gamma"], weights[f"{name}/beta"]
        channels_last = functional.layer_norm(x.permute(0, 2, 3, 1), (len(gain),), gain, offset, eps=1e-6)
        return channels_last.permute(0, 3, 1, 2)

    def convolved(x, name):
        kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1)
        return normalised(functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2), f"{name}_norm")

    x = torch.tensor(features).permute(0, 3, 1, 2)
    two = deconvolved(x, "scale_2/deconv_1")
    four = functional.gelu(normalised(deconvolved(x, "scale_4/deconv_1"), "scale_4/deconv_norm"))
    half = functional.max_pool2d(x, 2, 2, ceil_mode=True)
    scaled = {"scale_4": deconvolved(four, "scale_4/deconv_2"), "scale_2": two, "scale_1": x, "scale_0_5": half}
    maps = [convolved(convolved(one, f"{name}/lateral"), f"{name}/output") for name, one in scaled.items()]
    maps += [functional.max_pool2d(maps[-1], 1, 2)]
    return [one.permute(0, 2, 3, 1).numpy() for one in maps]


@pytest.mark.parametrize("features", [FEATURES, ODD], ids=["even", "odd"])
def test_against_pytorch(features):
    pyramid = made(features, extra_level=True)
    maps = pyramid(features)
    assert [tuple(one.shape) for one in maps] == pyramid.compute_output_shape(features.shape)
    for one, expected in zip(maps, torch_maps(pyramid, features), strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-5)  # sums of up to 72 numbers of size 1, normalised


def test_strides_and_defaults():
    """As published: 256 channels, and for patches of 16 pixels the strides 4, 8, 16 and 32."""
    pyramid = FeaturePyramid()
    assert pyramid.compute_output_shape((None, 14, 14, 768)) == [(None, side, side, 256) for side in (56, 28, 14, 7)]
    pyramid.build((None, None, None, 768))
    count = {level.name: level.count_params() for level in pyramid.levels}
    finest = (4 * 768 * 384 + 384) + 2 * 384 + (4 * 384 * 192 + 192)  # two deconvolutions, and the norm between them
    assert count == {
        "scale_4": finest + 192 * 256 + 9 * 256 * 256 + 4 * 256,
        "scale_2": (4 * 768 * 384 + 384) + 384 * 256 + 9 * 256 * 256 + 4 * 256,
        "scale_1": 768 * 256 + 9 * 256 * 256 + 4 * 256,
        "scale_0_5": 768 * 256 + 9 * 256 * 256 + 4 * 256,
    }


@pytest.mark.medium
@hypothesis.settings(max_examples=5)
@hypothesis.given(
    rows=strategies.integers(1, 9), columns=strategies.integers(1, 9), kept=strategies.sets(strategies.integers(0, 3))
)
def test_every_grid_and_choice_of_scales(rows, columns, kept):
    """A map of any size, by a pyramid that was built for another; each level stands for itself."""
    features = np.random.default_rng(rows).normal(size=(1, rows, columns, 16)).astype("float32")
    levels = sorted(kept) or [0]
    pyramid = some_pyramid(tuple(levels))
    maps = pyramid(features)
    assert [tuple(one.shape) for one in maps] == pyramid.compute_output_shape(features.shape)
    all_of_them = some_pyramid((0, 1, 2, 3))
    for level, one in zip(levels, maps, strict=True):
        expected = all_of_them.levels[level]
        pyramid.levels[levels.index(level)].set_weights(expected.get_weights())
        np.testing.assert_allclose(pyramid(features)[levels.index(level)], expected(features), atol=1e-5)


_PYRAMIDS = {}


def some_pyramid(levels):
    if levels not in _PYRAMIDS:
        _PYRAMIDS[levels] = made(scales=[(4, 2, 1, 0.5)[level] for level in levels])
    return _PYRAMIDS[levels]


def test_a_finer_map_does_not_reach_further_than_its_neighbourhood():
    """A change of one place of the features changes its block of each map, and what a 3 x 3 convolution reaches."""
    pyramid, changed = made(), FEATURES.copy()
    changed[:, 1, 4] += 1
    places = [(np.abs(one - other) > 0).any(axis=(0, 3)) for one, other in zip(pyramid(FEATURES), pyramid(changed))]
    expected = [((3, 9), (15, 21)), ((1, 5), (7, 11)), ((0, 3), (3, 6)), ((0, 2), (1, 3))]
    for place, ((top, bottom), (left, right)) in zip(places, expected, strict=True):
        block = np.zeros_like(place)
        block[top:bottom, left:right] = True
        np.testing.assert_array_equal(place, block)


def test_mixed_precision():
    half, full = made(dtype="mixed_bfloat16", extra_level=True), made(extra_level=True)
    for one, expected in zip(half(FEATURES), full(FEATURES), strict=True):
        assert one.dtype == "bfloat16"
        np.testing.assert_allclose(tf.cast(one, tf.float32), expected, atol=0.1)  # 8 bits, of numbers of size 3
    assert {weight.dtype for weight in half.weights} == {"float32"}


def test_channels_are_last_whatever_keras_is_set_to():
    expected = made()(FEATURES)
    before = keras.config.image_data_format()
    try:
        keras.config.set_image_data_format("channels_first")
        for one, other in zip(made()(FEATURES), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    finally:
        keras.config.set_image_data_format(before)


@pytest.mark.medium
def test_every_weight_has_a_gradient_in_a_graph_with_unknown_sizes():
    pyramid = made(extra_level=True)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 16))])
    def gradients(features):
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_sum(tf.square(tf.square(one))) for one in pyramid(features)])
        return tape.gradient(loss, [weight.value for weight in pyramid.trainable_weights])

    assert all(np.abs(gradient).max() > 1e-3 for gradient in gradients(ODD))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "channels of a pyramid's maps are a whole number from 1, got dim=0"),
        ({"dim": 2.5}, "got dim=2.5"),
        ({"scales": ()}, r"some of \(4.0, 2.0, 1.0, 0.5\), in this order; got \(\)"),
        ({"scales": (8, 4)}, r"got \(8, 4\)"),
        ({"scales": (1, 2)}, r"in this order; got \(1, 2\)"),
        ({"scales": (2, 2)}, r"got \(2, 2\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FeaturePyramid(**arguments)


def test_bad_features():
    with pytest.raises(ValueError, match=r"the shape \(2, 24, 16\): encoder.intermediates returns such maps"):
        FeaturePyramid(8)(FEATURES.reshape(2, 24, 16))
    with pytest.raises(ValueError, match="scale 4 needs a multiple of 4, got 6"):
        FeaturePyramid(8)(FEATURES[..., :6])
    with pytest.raises(ValueError, match="scale 2 needs a multiple of 2, got 5"):
        FeaturePyramid(8, (2, 1))(FEATURES[..., :5])
    assert FeaturePyramid(8, (1, 0.5))(FEATURES[..., :5])[0].shape == (2, 4, 6, 8)
