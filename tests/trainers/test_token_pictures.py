"""Pictures of tokens and attention: colours against scikit-learn's PCA, the choice of maps, the overlay, the sheets."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from keras_mae.models import ImageClassifier
from keras_mae.trainers.token_pictures import attention_pictures, most_different, overlaid, token_colours
from tests.base import fill_randomly, random_images, small_encoder

IMAGES = random_images(3, (8, 12, 3))


def test_colours_are_principal_components():
    """Of an outlier the colour is cut; all else is a component, stretched from its 1st to its 99th percentile."""
    tokens = np.random.default_rng(0).normal(size=(40, 6, 8)) * np.array([9, 5, 3, 1, 1, 1, 1, 1])
    tokens[0, 0] = 300
    colours = token_colours(tokens, (2, 3))
    assert colours.shape == (40, 2, 3, 3) and colours.dtype == "uint8"
    found = PCA(3).fit_transform(tokens.reshape(-1, 8))
    for component, colour in zip(found.T, colours.reshape(-1, 3).T, strict=True):
        low, high = np.percentile(component, (1, 99))
        expected = np.clip(255 * (component - low) / (high - low), 0, 255)
        difference = min(np.abs(colour - expected).max(), np.abs(255 - colour - expected).max())  # of either sign
        assert difference < 0.51  # rounded
    np.testing.assert_array_equal(token_colours(tokens, (2, 3)), colours)


def test_colours_of_equal_tokens_and_of_two_dimensions():
    assert not token_colours(np.ones((2, 6, 8)), (2, 3)).any()
    flat = token_colours(np.random.default_rng(0).normal(size=(2, 6, 2)), (2, 3))
    assert flat[..., :2].any() and not flat[..., 2].any()


def test_maps_that_differ_most():
    """Two pairs of equal maps and a lone one: one of each is chosen before any twice."""
    kinds = np.eye(6).reshape(6, 1, 2, 3)[[0, 0, 1, 1, 5]] + 0.01
    weights = np.moveaxis(kinds, 0, 1)  # (1, 5, 2, 3)
    chosen = most_different(weights, 3)
    assert chosen[0] == 4 and len({(0, 0, 1, 1, 2)[index] for index in chosen}) == 3
    assert sorted(most_different(weights, 9)) == [0, 1, 2, 3, 4]


def test_a_map_is_bright_where_it_looks():
    weights = np.zeros((1, 2, 2))
    weights[0, 0, 1] = 0.7
    picture = overlaid(np.full((1, 64, 64, 3), 100, "uint8"), weights)[0].astype(int)
    assert picture[2, -3].sum() > 600 and picture[-3, 2].tolist() == [45, 45, 45]
    np.testing.assert_array_equal(overlaid(np.full((1, 4, 4, 3), 100, "uint8"), np.full((1, 2, 2), 0.5)), 45)


def test_broken_weights():
    encoder = small_encoder()
    encoder.norm.gamma.assign(np.full(16, np.nan))
    with pytest.raises(
        ValueError, match="the patch tokens of 3 of 3 images are not finite: the encoder's weights hold"
    ):
        attention_pictures(encoder, IMAGES)


@pytest.mark.parametrize("kind", ["attentive", "class token", "neither"])
def test_sheets(kind):
    """Every column stands in its place, for a sheet of all images and for each image."""
    if kind == "attentive":
        model, maps = fill_randomly(ImageClassifier(small_encoder(), 4, "attentive", 0, num_queries=8, layer=1)), 8
    else:
        count = int(kind == "class token")
        model, maps = small_encoder(num_cls_tokens=count), 2 * count
    (sheet,) = attention_pictures(model, IMAGES)
    zoom = 14  # 8 pixels to at least 112
    shown = IMAGES.repeat(zoom, axis=1).repeat(zoom, axis=2)
    columns = 2 + (1 + min(maps, 6) if maps else 0)
    assert sheet.width == columns * (12 * zoom + 4) - 4 + 20 - 4
    pixels = np.asarray(sheet)
    for index in range(3):
        top = 26 + index * (8 * zoom + 8)
        np.testing.assert_array_equal(pixels[top : top + 8 * zoom, 8 : 8 + 12 * zoom], shown[index])
        tokens = pixels[top : top + 8 * zoom, 8 + 12 * zoom + 4 :][:, : 12 * zoom]
        blocks = tokens.reshape(2, 4 * zoom, 3, 4 * zoom, 3)
        assert (blocks == blocks[:, :1, :, :1]).all()  # a patch has one colour
    each = attention_pictures(model, IMAGES, one_each=True)
    assert len(each) == 3
    for index, picture in enumerate(each):
        np.testing.assert_array_equal(np.asarray(picture)[26 : 26 + 8 * zoom, 8 : 8 + 12 * zoom], shown[index])
