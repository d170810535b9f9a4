"""Pictures for people: reconstructions, and the loss curve."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _LINE, _GRID = (255, 255, 255), (51, 51, 51), (31, 119, 180), (225, 225, 225)
_GAP = 4


def _font(size: int):
    return ImageFont.load_default(size)


def reconstruction_grid(originals, masked, reconstructed, columns: int = 4) -> Image.Image:
    """Triples (original, masked, reconstructed), several in a row, with headings.

    Args:
        originals, masked, reconstructed: `(N, H, W, C)` in [0, 255]; of more than three channels, the first three.
        columns: triples in a row.
    """
    tiles = [
        np.clip(np.round(np.asarray(x, "float32")), 0, 255).astype("uint8") for x in (originals, masked, reconstructed)
    ]
    count, height, width, _ = tiles[0].shape
    zoom = max(1, round(112 / max(height, width)))
    tile_height, tile_width = height * zoom, width * zoom
    columns = min(columns, count)
    rows = -(-count // columns)
    triple = 3 * tile_width + 2 * _GAP
    step_x, step_y, head = triple + 5 * _GAP, tile_height + 2 * _GAP, 26
    picture = Image.new("RGB", (columns * step_x - _GAP, rows * step_y + head + _GAP), _PAPER)
    draw = ImageDraw.Draw(picture)
    for column in range(columns):
        for place, text in enumerate(("original", "masked", "reconstructed")):
            x = 2 * _GAP + column * step_x + place * (tile_width + _GAP) + tile_width // 2
            draw.text((x, head // 2 + 1), text, fill=_INK, anchor="mm", font=_font(13))
    for index in range(count):
        row, column = divmod(index, columns)
        for place, stack in enumerate(tiles):
            tile = Image.fromarray(
                np.repeat(stack[index], 3, axis=-1) if stack.shape[-1] == 1 else stack[index][..., :3]
            )
            tile = tile.resize((tile_width, tile_height), Image.Resampling.NEAREST)
            picture.paste(tile, (2 * _GAP + column * step_x + place * (tile_width + _GAP), head + row * step_y))
    return picture


def loss_curve(losses: list[float], width: int = 640, height: int = 360) -> Image.Image:
    """The loss of each epoch as a line."""
    picture = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(picture)
    left, right, top, bottom = 64, width - 20, 34, height - 46
    low, high = min(losses), max(losses)
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
    points = [(x_of(index + 1), y_of(loss)) for index, loss in enumerate(losses)]
    draw.line(points, fill=_LINE, width=3, joint="curve")
    for x, y in points[:: max(1, len(points) // 60)]:
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=_LINE)
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
