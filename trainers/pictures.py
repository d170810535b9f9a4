"""Pictures for people: reconstructions, and the loss curve."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_mae.trainers.reference_loss import Reference

_PAPER, _INK, _LINE, _GRID = (255, 255, 255), (51, 51, 51), (31, 119, 180), (225, 225, 225)
_REFERENCE = (214, 39, 40)
_GAP, _LINE_HEIGHT = 4, 17
_LEAK = (
    "With the original mean and contrast: the network predicts a patch up to these, and they are taken from the hidden "
    "patch itself, so that even an untrained network shows the picture.",
    "From the visible patches alone: mean and contrast are interpolated from the visible patches around.",
)


def _font(size: int):
    return ImageFont.load_default(size)


def reconstruction_grid(
    originals, masked, reconstructed, from_visible=None, notes: Sequence[str] = (), columns: int = 4
) -> Image.Image:
    """Triples (original, masked, reconstructed), several in a row, with headings.

    Args:
        originals, masked, reconstructed: `(N, H, W, 1 or 3)` in [0, 255].
        from_visible: None, or likewise, for a fourth one: what a reconstruction is without the mean and contrast of
            the original patches, which those in `reconstructed` have then.
        notes: sentences to write below.
        columns: triples in a row.
    """
    stacks, headings = [originals, masked, reconstructed], ["original", "masked", "reconstructed"]
    if from_visible is not None:
        stacks.append(from_visible)
        headings[2:] = ["with the original\nmean and contrast", "from the visible\npatches alone"]
        notes = [*_LEAK, *notes]
    tiles = [np.clip(np.round(np.asarray(x, "float32")), 0, 255).astype("uint8") for x in stacks]
    count, height, width, _ = tiles[0].shape
    zoom = max(1, round(112 / max(height, width)))
    tile_height, tile_width = height * zoom, width * zoom
    columns = min(columns, count)
    rows = -(-count // columns)
    group = len(tiles) * tile_width + (len(tiles) - 1) * _GAP
    step_x, step_y, head = group + 5 * _GAP, tile_height + 2 * _GAP, 26 if from_visible is None else 40
    picture_width, bottom = columns * step_x - _GAP, rows * step_y + head + _GAP
    lines = [line for note in notes for line in _wrapped(note, picture_width - 4 * _GAP)]
    picture = Image.new("RGB", (picture_width, bottom + (_LINE_HEIGHT * len(lines) + _GAP if lines else 0)), _PAPER)
    draw = ImageDraw.Draw(picture)
    for column in range(columns):
        for place, text in enumerate(headings):
            x = 2 * _GAP + column * step_x + place * (tile_width + _GAP) + tile_width // 2
            draw.text((x, head // 2 + 1), text, fill=_INK, anchor="mm", font=_font(_fitting(text, tile_width)))
    for index in range(count):
        row, column = divmod(index, columns)
        for place, stack in enumerate(tiles):
            tile = Image.fromarray(np.broadcast_to(stack[index], (height, width, 3)).copy())
            tile = tile.resize((tile_width, tile_height), Image.Resampling.NEAREST)
            picture.paste(tile, (2 * _GAP + column * step_x + place * (tile_width + _GAP), head + row * step_y))
    for number, line in enumerate(lines):
        draw.text((2 * _GAP, bottom + number * _LINE_HEIGHT), line, fill=_INK, font=_font(12))
    return picture


def _fitting(text: str, width: int) -> int:
    """The largest size of letters, up to 13, with which no line of a heading is wider than its image."""
    widest = max(_font(13).getlength(line) for line in text.split("\n"))
    return max(6, min(13, int(13 * width / widest)))


def _wrapped(text: str, width: int) -> list[str]:
    """A text in lines of a width in pixels, or of one word."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _font(12).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def loss_curve(
    losses: Sequence[float], reference: Reference | None = None, width: int = 640, height: int = 360
) -> Image.Image:
    """The loss of each epoch as a line, with gaps where it is not finite; and the one it is compared with, dashed."""
    picture = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(picture)
    left, right, top, bottom = 64, width - 20, 34, height - 46
    shown = [loss for loss in losses if math.isfinite(loss)] + ([] if reference is None else [reference.loss])
    low, high = (min(shown), max(shown)) if shown else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.1
    low, high = low - margin, high + margin
    draw.text((width // 2, 16), "pretraining loss (masked patches)", fill=_INK, anchor="mm", font=_font(15))
    draw.text(((left + right) // 2, height - 12), "epoch", fill=_INK, anchor="mm", font=_font(13))

    def x_of(epoch: float) -> float:
        return left + (right - left) * (epoch - 1) / max(len(losses) - 1, 1)

    def y_of(loss: float) -> float:
        return bottom - (bottom - top) * (loss - low) / (high - low)

    for value in _ticks(low, high):
        draw.line([(left, y_of(value)), (right, y_of(value))], fill=_GRID)
        draw.text((left - 8, y_of(value)), f"{value:g}", fill=_INK, anchor="rm", font=_font(12))
    for epoch in _ticks(1, len(losses), whole=True):
        draw.text((x_of(epoch), bottom + 8), f"{epoch:g}", fill=_INK, anchor="mt", font=_font(12))
    draw.line([(left, top), (left, bottom), (right, bottom)], fill=_INK)
    if reference is not None:
        y = y_of(reference.loss)
        for x in range(left, right, 10):
            draw.line([(x, y), (min(x + 5, right), y)], fill=_REFERENCE, width=2)
        text = f"{reference.prediction}: {reference.rounded}"
        above = y - top > _LINE_HEIGHT
        draw.text(
            (right, y + (-3 if above else 5)), text, fill=_REFERENCE, anchor="rb" if above else "rt", font=_font(12)
        )
    points = [(x_of(index + 1), y_of(loss)) if math.isfinite(loss) else None for index, loss in enumerate(losses)]
    for one, other in itertools.pairwise(points):
        if one and other:
            draw.line([one, other], fill=_LINE, width=3, joint="curve")
    for point in points[:: max(1, len(points) // 60)]:
        if point:
            draw.ellipse([point[0] - 3, point[1] - 3, point[0] + 3, point[1] + 3], fill=_LINE)
    return picture


def save(picture: Image.Image, path: str) -> None:
    """Writes a PNG, aside first: a picture that is there is whole."""
    aside = f"{path}.writing"
    try:
        picture.save(aside, format="PNG", optimize=True)
        os.replace(aside, path)
    finally:
        if os.path.exists(aside):
            os.remove(aside)


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """About five round numbers between `low` and `high`."""
    if high <= low:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - rough))
    if whole:
        step = max(1.0, np.ceil(step))
    first = np.ceil(low / step)
    return [float(f"{(first + k) * step:.6g}") for k in range(int((high - first * step) / step + 1e-9) + 1)]
