"""The pictures: sizes, what is where, tick labels."""

import math

import numpy as np
import pytest
from PIL import Image

from keras_mae.trainers import pictures
from keras_mae.trainers.reference_loss import Reference
from tests.drawn import drawn


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (4, 4, 1), (5, 4, 2), (9, 4, 3)])
def test_grid_shows_every_triple_in_its_place(count, columns, rows, channels):
    height, width, zoom = 28, 20, 4  # 4 times 28 pixels are 112
    stacks = [np.stack([drawn(height, width, channels, seed=10 * kind + n) for n in range(count)]) for kind in range(3)]
    picture = pictures.reconstruction_grid(*stacks)
    tile = (height * zoom, width * zoom)
    assert picture.mode == "RGB"
    assert picture.size == (columns * (3 * tile[1] + 8 + 20) - 4, rows * (tile[0] + 8) + 26 + 4)

    pixels = np.asarray(picture)
    for number in range(count):
        row, column = divmod(number, 4)
        for kind, stack in enumerate(stacks):
            left, top = 8 + column * (3 * tile[1] + 28) + kind * (tile[1] + 4), 26 + row * (tile[0] + 8)
            shown = pixels[top : top + tile[0], left : left + tile[1]]
            expected = np.repeat(stack[number], 3 // channels, axis=-1).repeat(zoom, axis=0).repeat(zoom, axis=1)
            np.testing.assert_array_equal(shown, expected)


def test_grid_clips_and_rounds():
    values = np.array([[[-20.0, 0.4], [254.6, 300.0]]])[..., None]
    picture = np.asarray(pictures.reconstruction_grid(values, values, values))
    assert picture[26, 8].tolist() == [0, 0, 0] and picture[26 + 111, 8 + 111].tolist() == [255] * 3
    assert picture[26, 8 + 60].tolist() == [0, 0, 0] and picture[26 + 60, 8].tolist() == [255] * 3


def test_headings_are_written():
    stack = drawn(28, 28)[None]
    heading = np.asarray(pictures.reconstruction_grid(stack, stack, stack))[:26]
    for third in range(3):
        part = heading[:, 8 + 116 * third : 8 + 116 * third + 112]
        assert (part < 128).any()


def test_a_fourth_form_and_notes():
    stacks = [np.stack([drawn(28, 28, 3, seed=10 * kind + n) for n in range(5)]) for kind in range(4)]
    picture = np.asarray(
        pictures.reconstruction_grid(*stacks, notes=["Levels are " + "very much " * 60 + "stretched."])
    )
    for number in range(5):
        row, column = divmod(number, 4)
        for kind, stack in enumerate(stacks):
            left, top = 8 + column * (4 * 112 + 32) + kind * 116, 40 + row * 120
            expected = stack[number].repeat(4, axis=0).repeat(4, axis=1)
            np.testing.assert_array_equal(picture[top : top + 112, left : left + 112], expected)
    below = picture[40 + 2 * 120 + 4 :]
    assert len(below) == 4 * 17 + 4  # two lines on the fourth form, and two of the note
    written = (below < 128).any(axis=(1, 2))
    assert all(written[17 * line : 17 * line + 17].any() for line in range(4))
    assert (below[:, -8:] == 255).all()  # nothing is cut off


@pytest.mark.parametrize("width", [4, 16, 60])
def test_headings_of_narrow_images_do_not_overlap(width):
    stack = np.full((2, 112, width, 1), 255, "uint8")
    heading = np.asarray(pictures.reconstruction_grid(*[stack] * 4))[:40]
    for column in range(1, 4):
        gap = heading[:, 8 + column * (width + 4) - 3 : 8 + column * (width + 4) - 1]
        assert width < 60 or (gap > 128).all()


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (1, 20, True, [5, 10, 15, 20]),
        (1, 3, True, [1, 2, 3]),
        (1, 1, True, [1]),
        (1, 800, True, [200, 400, 600, 800]),
        (0.0, 1.0, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.013, 0.047, False, [0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.045]),
        (12.0, 97.0, False, [20, 40, 60, 80]),
    ],
)
def test_ticks_are_round_numbers_inside(low, high, whole, expected):
    assert pictures._ticks(low, high, whole) == pytest.approx(expected, rel=1e-9)  # float64 round-off


@pytest.mark.parametrize("losses", [[0.9], [0.5, 0.5], [1.0, 0.6, 0.7, 0.2], list(np.geomspace(1, 1e-3, 300))])
def test_loss_curve(losses, tmp_path):
    picture = pictures.loss_curve(losses)
    assert picture.size == (640, 360)
    pixels = np.asarray(picture).astype(int)
    line = np.argwhere((np.abs(pixels - pictures._LINE) < 3).all(axis=-1))
    assert len(line) > 20
    assert line[:, 0].min() >= 34 - 3 and line[:, 0].max() <= 360 - 46 + 3  # inside of the axes
    if losses[-1] < losses[0]:  # it falls: the left end is above the right one
        assert line[line[:, 1] == line[:, 1].min(), 0].mean() < line[line[:, 1] == line[:, 1].max(), 0].mean()
    pictures.save(picture, str(tmp_path / "loss.png"))
    assert Image.open(tmp_path / "loss.png").size == (640, 360)
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]


def test_loss_curve_shows_what_the_loss_is_compared_with():
    losses = [1.2, 0.9, 0.7, 0.6]
    pixels = np.asarray(pictures.loss_curve(losses, Reference(0.98, "each patch's mean"))).astype(int)
    dashes = np.argwhere((np.abs(pixels - pictures._REFERENCE) < 3).all(axis=-1))
    rows, counts = np.unique(dashes[:, 0], return_counts=True)
    low, high = 0.6 - 0.06 * 0.6, 1.2 + 0.06 * 0.6
    assert abs(rows[counts.argmax()] - (314 - 280 * (0.98 - low) / (high - low))) <= 1.5  # two pixels wide
    assert 0.4 < counts.max() / (620 - 64) < 0.7  # dashed, over the whole width
    above = np.asarray(pictures.loss_curve([0.3, 0.2], Reference(0.9, "each patch's mean"))).astype(int)
    assert (np.abs(above - pictures._REFERENCE) < 3).all(axis=-1)[34:].any()  # inside, also when the loss is far below


@pytest.mark.parametrize("losses", [[math.nan], [math.nan, 0.5, math.nan, 0.4, 0.3], [math.inf, 1.0, 0.9]])
def test_a_loss_that_is_not_finite_is_a_gap(losses):
    pixels = np.asarray(pictures.loss_curve(losses)).astype(int)
    line = np.argwhere((np.abs(pixels - pictures._LINE) < 3).all(axis=-1))[:, 1]
    finite = [number for number, loss in enumerate(losses) if math.isfinite(loss)]
    x = [64 + 556 * number / max(len(losses) - 1, 1) for number in finite]
    assert not len(line) if not x else (abs(line.min() - x[0]) <= 4 and abs(line.max() - x[-1]) <= 4)
