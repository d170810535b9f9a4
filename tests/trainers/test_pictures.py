"""The pictures: sizes, what is where, tick labels."""

import numpy as np
import pytest
from PIL import Image

from keras_mae.trainers import pictures
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
