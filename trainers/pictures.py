"""Pictures of reconstructions and of the loss curve."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_mae.trainers.reference import Reference
from keras_mae.whole_file import replace_file

_PAPER, _INK = (255, 255, 255), (51, 51, 51)
_LINE, _REFERENCE, _GRID = "#1f77b4", "#d62728", "#e1e1e1"  # of charts
# of several lines: Petroff, arXiv 2107.02270, table 1, which people with colour blindness tell apart
_LINES = ("#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#94a4a2", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
_DASHES = ("-", "--", ":", "-.")
_GAP, _LINE_HEIGHT = 4, 17
_LONGEST_NAME = 40  # letters of a legend
_font = ImageFont.load_default
_LEAK = (
    "With the original mean and contrast: the network predicts a patch up to these, and they are taken from the hidden "
    "patch itself, so that even an untrained network shows the picture.",
    "From the visible patches alone: mean and contrast are interpolated from the visible patches around.",
)


def reconstruction_grid(
    originals, masked, reconstructed, from_visible=None, notes: Sequence[str] = (), columns: int = 4
) -> Image.Image:
    """Triples (original, masked, reconstructed), several in a row, with headings.

    Args:
        originals, masked, reconstructed: `(N, H, W, 1 or 3)` in [0, 255].
        from_visible: None, or a fourth image likewise: the reconstruction without the mean and contrast of the original
            patches, which `reconstructed` has then.
        notes: sentences to write below.
        columns: triples in a row.
    """
    stacks, headings = [originals, masked, reconstructed], ["original", "masked", "reconstructed"]
    if from_visible is not None:
        stacks.append(from_visible)
        headings[2:] = ["with the original\nmean and contrast", "from the visible\npatches alone"]
        notes = [*_LEAK, *notes]
    return picture_grid(stacks, headings, notes, columns)


def picture_grid(
    stacks: Sequence,
    headings: Sequence[str],
    notes: Sequence[str] = (),
    columns: int = 4,
    captions: Sequence[str] = (),
) -> Image.Image:
    """Groups of images, one of each stack, several groups in a row, with a heading for each stack.

    Args:
        stacks: each `(N, H, W, 1 or 3)` in [0, 255]; small images are enlarged.
        headings: of the stacks; lines of one are separated by a newline.
        notes: sentences to write below.
        columns: groups in a row.
        captions: a line below each group, of which the end stays if it is too long.
    """
    tiles = [np.clip(np.round(np.asarray(x, "float32")), 0, 255).astype("uint8") for x in stacks]
    count, height, width, _ = tiles[0].shape
    zoom = max(1, round(112 / max(height, width)))
    tile_height, tile_width = height * zoom, width * zoom
    columns = min(columns, count)
    rows = -(-count // columns)
    group = len(tiles) * tile_width + (len(tiles) - 1) * _GAP
    step_x, step_y, head = (
        group + 5 * _GAP,
        tile_height + 2 * _GAP + (_LINE_HEIGHT if captions else 0),
        40 if any("\n" in heading for heading in headings) else 26,
    )
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
    for index, caption in enumerate(captions):
        row, column = divmod(index, columns)
        where = (2 * _GAP + column * step_x, head + row * step_y + tile_height + 2)
        draw.text(where, _end_of(caption, group), fill=_INK, font=_font(11))
    for number, line in enumerate(lines):
        draw.text((2 * _GAP, bottom + number * _LINE_HEIGHT), line, fill=_INK, font=_font(12))
    return picture


def _fitting(text: str, width: int) -> int:
    """The largest size of letters, up to 13, with which no line of a heading is wider than its image."""
    widest = max(_font(13).getlength(line) for line in text.split("\n"))
    return max(6, min(13, int(13 * width / widest)))


def _end_of(text: str, width: int) -> str:
    """As much of the end of a line as is not wider than a width in pixels."""
    if _font(11).getlength(text) <= width:
        return text
    while len(text) > 1 and _font(11).getlength(f"...{text}") > width:
        text = text[1:]
    return f"...{text}"


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
    losses: Sequence[float], reference: Reference | None = None, title: str = "pretraining loss"
) -> Image.Image:
    """The loss of each epoch as a line, with gaps where it is not finite; the reference as a dashed line."""
    canvas, axes = _loss_axes(len(losses), title)
    axes.plot(range(1, len(losses) + 1), _finite(losses), "o-", color=_LINE, **_dots(losses))
    if reference is not None:
        axes.axhline(reference.loss, color=_REFERENCE, linestyle="--")
        text, places = f"{reference.prediction}: {reference.rounded}", (axes.get_yaxis_transform(), "offset points")
        axes.annotate(text, (1, reference.loss), (0, 3), *places, color=_REFERENCE, ha="right")
    return _drawn(canvas)


def loss_curves(losses: Mapping[str, Sequence[float]], title: str) -> Image.Image:
    """The losses of several runs, by their names, as lines of different colours and dashes."""
    canvas, axes = _loss_axes(max(map(len, losses.values())), title)
    for number, (name, line) in enumerate(losses.items()):
        look = {"color": _LINES[number % len(_LINES)], "linestyle": _DASHES[number % len(_DASHES)]}
        axes.plot(range(1, len(line) + 1), _finite(line), marker="o", label=_shortened(name), **look, **_dots(line))
    for text in axes.legend().get_texts():
        text.set_parse_math(False)  # a name may hold $
    return _drawn(canvas)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def _loss_axes(epochs: int, title: str) -> tuple[Any, Any]:
    """A canvas, and axes for so many epochs on it."""
    from matplotlib import figure, ticker
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure.Figure((6.4, 3.6), layout="constrained"))  # inches, of 100 pixels each
    axes = canvas.figure.add_subplot(title=title, xlabel="epoch", ymargin=0.1)
    axes.set_xlim(0.5, epochs + 0.5)
    axes.xaxis.set_major_locator(ticker.MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.grid(axis="y", color=_GRID)
    axes.spines[["top", "right"]].set_visible(False)
    return canvas, axes


def _finite(losses: Sequence[float]) -> list[float]:
    return [loss if math.isfinite(loss) else math.nan for loss in losses]


def _dots(losses: Sequence[float]) -> dict[str, Any]:
    return {"markersize": 4, "markevery": max(1, len(losses) // 60)}


def _drawn(canvas: Any) -> Image.Image:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # shown as boxes
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def save(picture: Image.Image, path: str) -> None:
    """Writes a PNG file, whole or not at all."""
    replace_file(path, lambda aside: picture.save(aside, format="PNG", optimize=True))
