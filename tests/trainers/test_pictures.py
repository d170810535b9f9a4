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


def colour_of(line):
    return np.array([int(line[place : place + 2], 16) for place in (1, 3, 5)])


def places(picture, line):
    """Rows and columns of the pixels that have a line's colour."""
    return np.argwhere((np.abs(np.asarray(picture).astype(int) - colour_of(line)) < 3).all(axis=-1))


def frame(picture):
    """Top, bottom, left and right of the axes, which are black: the longest column and row of dark pixels."""
    dark = (np.asarray(picture).astype(int) < 100).all(axis=-1)
    left, bottom = dark.sum(axis=0).argmax(), dark.sum(axis=1).argmax()
    return dark[:, left].argmax(), bottom, left, len(dark[0]) - 1 - dark[bottom, ::-1].argmax()


@pytest.mark.parametrize("losses", [[0.9], [0.5, 0.5], [1.0, 0.6, 0.7, 0.2], list(np.geomspace(1, 1e-3, 300))])
def test_loss_curve(losses, tmp_path):
    picture = pictures.loss_curve(losses)
    assert picture.size == (640, 360) and picture.mode == "RGB"
    top, bottom, left, right = frame(picture)
    assert right - left > 500 and bottom - top > 240
    line = places(picture, pictures._LINE)
    assert len(line) > 20
    assert top < line[:, 0].min() and line[:, 0].max() < bottom  # inside of the axes
    assert left < line[:, 1].min() and line[:, 1].max() < right
    if losses[-1] < losses[0]:  # it falls: the left end is above the right one
        assert line[line[:, 1] == line[:, 1].min(), 0].mean() < line[line[:, 1] == line[:, 1].max(), 0].mean()
    pictures.save(picture, str(tmp_path / "loss.png"))
    assert Image.open(tmp_path / "loss.png").size == (640, 360)
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]


def test_loss_curves_of_several_runs():
    """A line of its own colour for each, with a gap, as high and as far to the right as its numbers say."""
    picture = pictures.loss_curves({"one": [1.0, 0.6, 0.2], "$x_2$ 図": [0.9, float("nan"), 0.8, 0.7]}, "training loss")
    assert picture.size == (640, 360)
    _, _, left, right = frame(picture)
    first, second = (places(picture, colour) for colour in pictures._LINES[:2])
    middle = (left + right) / 2
    first, second = (line[line[:, 1] < right - 130] for line in (first, second))  # without the legend
    assert first[:, 1].max() < right - 130 + 1 and len(first) > 100 and len(second) > 20
    assert first[first[:, 1] < middle][:, 0].mean() < first[first[:, 1] > middle - 20][:, 0].mean()  # it falls


@pytest.mark.parametrize("low", [0.6, 0.05])
def test_loss_curve_shows_what_the_loss_is_compared_with(low):
    """The dashed line lies where its loss is on the scale of the curve; a loss may be far below, too."""
    picture = pictures.loss_curve([1.2, 0.9, 0.7, low], Reference(0.98, "each patch's mean"))
    top, bottom, left, right = frame(picture)
    dashes, line = places(picture, pictures._REFERENCE), places(picture, pictures._LINE)
    rows, counts = np.unique(dashes[:, 0], return_counts=True)
    highest, lowest = (
        line[line[:, 1] == line[:, 1].min() + 3, 0].mean(),
        line[line[:, 1] == line[:, 1].max() - 3, 0].mean(),
    )
    assert abs(rows[counts.argmax()] - (highest + (lowest - highest) * (1.2 - 0.98) / (1.2 - low))) <= 3  # thick lines
    assert 0.5 < counts.max() / (right - left) < 0.9  # dashed, over the whole width
    written = dashes[np.abs(dashes[:, 0] - rows[counts.argmax()]) > 3]
    assert len(written) > 20 and written[:, 0].min() > top and written[:, 1].max() <= right


def test_loss_curve_with_a_reference_above_all_has_room_for_its_text():
    picture = pictures.loss_curve([0.3, 0.2], Reference(0.9, "each patch's mean"))
    top, _, _, right = frame(picture)
    written = places(picture, pictures._REFERENCE)
    assert written[:, 0].min() >= top - 2 and written[:, 1].max() <= right


@pytest.mark.parametrize("losses", [[math.nan], [math.nan, 0.5, math.nan, 0.4, 0.3], [math.inf, 1.0, 0.9]])
def test_a_loss_that_is_not_finite_is_a_gap(losses):
    line = places(pictures.loss_curve(losses), pictures._LINE)[:, 1]
    finite = [number for number, loss in enumerate(losses) if math.isfinite(loss)]
    if not finite:
        assert not len(line)
        return
    whole = places(pictures.loss_curve([0.5] * len(losses)), pictures._LINE)[:, 1]
    x = np.linspace(whole.min() + 3, whole.max() - 3, len(losses))[finite]  # circles of 3 pixels
    width = 640 / len(losses)  # of an epoch; labels of another width move the axes a little
    assert abs(line.min() + 3 - x[0]) < width / 8 and abs(line.max() - 3 - x[-1]) < width / 8


def test_no_epoch_has_a_fraction(monkeypatch):
    """Of one to four epochs, and of many, each number below the axis is whole."""
    from matplotlib.figure import Figure

    figures, original = [], Figure.__init__
    monkeypatch.setattr(
        Figure, "__init__", lambda self, *given, **named: (figures.append(self), original(self, *given, **named))[1]
    )
    for count in (1, 2, 4, 800):
        pictures.loss_curve(np.geomspace(1, 0.5, count))
        ticks = [tick for tick in figures[-1].axes[0].get_xticks()]
        assert all(float(tick).is_integer() for tick in ticks) and len(ticks) <= 12
