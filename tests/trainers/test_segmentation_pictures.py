"""Pictures of segmented images: every class in a colour of its own."""

import numpy as np
import pytest

from keras_mae.trainers.segmentation_pictures import class_colours, coloured, segmentation_picture


@pytest.mark.parametrize("classes", [2, 12, 150])
def test_colours_differ(classes):
    colours = class_colours(classes).astype(int)
    assert len({tuple(colour) for colour in colours.tolist()}) == classes
    assert colours.max(axis=1).min() > 100  # black is for pixels without label
    near = np.abs(colours[:12, None] - colours[None, :12]).sum(-1)[~np.eye(min(classes, 12), dtype=bool)]
    assert near.min() > 60
    np.testing.assert_array_equal(class_colours(300)[:classes], colours)


def test_pixels_have_the_colours_of_their_classes():
    classes = np.array([[0, 2], [-1, 1]])
    np.testing.assert_array_equal(coloured(classes, 3), np.concatenate([class_colours(3), [[0, 0, 0]]])[classes])


@pytest.mark.parametrize(
    "image",
    [np.zeros((40, 60, 3), "uint8"), np.zeros((600, 900, 1), "uint16"), np.zeros((5, 3, 5), "uint8")],
)
def test_a_picture_of_any_image(image):
    classes = np.random.default_rng(0).integers(-1, 30, image.shape[:2])
    names = [f"class number {number}" for number in range(30)]
    with_truth = segmentation_picture(image, classes, np.maximum(classes, 0), names)
    without = segmentation_picture(image, None, np.maximum(classes, 0), names)
    assert with_truth.width > without.width and with_truth.mode == "RGB"
    found = {tuple(pixel) for pixel in np.asarray(with_truth).reshape(-1, 3).tolist()}
    shown = {tuple(colour) for colour in class_colours(30)[np.unique(np.maximum(classes, 0))[:3]].tolist()}
    assert shown <= found and (0, 0, 0) in found
