"""Images of any size, by a segmenter of one size: resized, or in windows."""

import types

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mae.data.preprocessing import resize_at_once
from keras_mae.trainers.whole_segmentation import WholeSegmentation, window_places

SHAPE = (12, 16, 3)


def segmenter(function, shape=SHAPE):
    """A model that gives `function(images)` as logits."""

    def call(images, training):
        assert not training
        return function(images)

    call.encoder = types.SimpleNamespace(image_shape=shape)
    return call


def brightness(images):
    """Three classes: dark, middle, bright; smooth in the image."""
    gray = tf.reduce_mean(images, axis=-1, keepdims=True)
    return tf.concat([100 - gray, 50 - tf.abs(gray - 128), gray - 156], axis=-1)


def picture(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3)).astype("uint8")
    return resize_at_once(noise, (height, width)).numpy()


@pytest.mark.parametrize("size", [(12, 16), (31, 20), (9, 50)])
def test_resized_to_the_model_and_back(size):
    image = picture(*size)
    logits = brightness(tf.cast(resize_at_once(image, SHAPE[:2]), tf.float32)[None])
    expected = tf.argmax(tf.image.resize(logits, size), axis=-1)[0]
    found = WholeSegmentation(segmenter(brightness), "resize")(image)
    assert found.shape == size and np.mean(found != expected) < 0.01  # near ties fall by round-off


def test_large_logits_are_resized_in_parts(monkeypatch):
    image = picture(31, 20)
    whole = WholeSegmentation(segmenter(brightness), "resize")(image)
    monkeypatch.setattr("keras_mae.trainers.whole_segmentation._VALUES", 4 * 20 * 3)
    assert np.mean(WholeSegmentation(segmenter(brightness), "resize")(image) != whole) < 0.01


@pytest.mark.parametrize("size, batch_size", [((12, 16), 3), ((30, 20), 2), ((13, 70), 8), ((6, 8), 1)])
def test_windows_of_a_model_that_sees_single_pixels_show_the_image(size, batch_size):
    """Whatever the windows, their mean is then the logits of the image that just covers the model's size."""
    image = picture(*size)
    factor = max(12 / size[0], 16 / size[1])
    scaled = resize_at_once(image, [max(round(size[0] * factor), 12), max(round(size[1] * factor), 16)])
    found = WholeSegmentation(segmenter(brightness), "slide", batch_size).logits(image)
    np.testing.assert_allclose(found, brightness(tf.cast(scaled, tf.float32)), atol=1e-4)


def test_overlaps_are_averaged():
    """A model that says where in its window a pixel lies; by hand for a picture of two windows."""
    places = np.broadcast_to(np.arange(12.0)[:, None, None], (12, 16, 1)).astype("float32")
    model = segmenter(lambda images: tf.tile(places[None], [tf.shape(images)[0], 1, 1, 1]))
    found = WholeSegmentation(model, "slide").logits(picture(18, 16))[:, 0, 0]
    windows = window_places(18, 12)
    assert windows == [0, 6]
    inside = [[place - begin for begin in windows if 0 <= place - begin < 12] for place in range(18)]
    np.testing.assert_allclose(found, [np.mean(one) for one in inside])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.integers(1, 64))
def test_windows_cover_a_side(extra, window):
    length = window + extra - 1
    places = window_places(length, window)
    covered = np.zeros(length, bool)
    for place in places:
        assert 0 <= place <= length - window
        covered[place : place + window] = True
    assert covered.all() and len(set(places)) == len(places)
    assert all(b - a <= max(window * 2 // 3, 1) for a, b in zip(places, places[1:]))


def test_refusals():
    with pytest.raises(ValueError, match="whole images are segmented by resize or slide, got 'crop'"):
        WholeSegmentation(segmenter(brightness), "crop")
    broken = segmenter(lambda images: brightness(images) * float("nan"))
    with pytest.raises(ValueError, match="the segmenter's logits are not finite: its weights hold NaN"):
        WholeSegmentation(broken, "resize")(picture(12, 16))
