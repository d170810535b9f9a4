"""Pictures of segmented images."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_mae.trainers.pictures import picture_grid

_FONT = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")  # Pillow's has no umlauts
_SIDE = 320  # pixels of the longer side of an image in a picture, at most
_LISTED = 24  # classes in a legend
_NO_LABEL, _UNLABELLED = (0, 0, 0), "no label"
_PAPER, _INK = (255, 255, 255), (51, 51, 51)
_SWATCH, _LINE, _GAP = 12, 18, 8
_TURN = 0.6180339887498949  # of the colour circle: the golden ratio keeps the hues of any number of classes apart


def class_colours(num_classes: int) -> np.ndarray:
    """A colour for each class, uint8 `(K, 3)`: neighbours differ, and the first classes are always the same."""
    shades = [(0.85, 0.95), (0.55, 0.70), (0.95, 0.60), (0.40, 0.95)]  # saturation and value
    colours = [colorsys.hsv_to_rgb(k * _TURN % 1, *shades[k // 3 % len(shades)]) for k in range(num_classes)]
    return np.round(np.array(colours) * 255).astype("uint8")


def coloured(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Classes, integers `(H, W)`, in their colours, pixels without label (negative) in black: uint8 `(H, W, 3)`."""
    table = np.concatenate([class_colours(num_classes), [_NO_LABEL]]).astype("uint8")
    return table[np.where(classes < 0, num_classes, classes)]


def segmentation_picture(
    image: np.ndarray, truth: np.ndarray | None, predicted: np.ndarray, class_names: Sequence[str]
) -> Image.Image:
    """An image, its true and its predicted classes side by side, and the colours of the classes that are in them.

    Args:
        image: uint8 or uint16 `(H, W, C)`; of other numbers of channels than 1 and 3 the first is shown.
        truth: integers `(H, W)`, negative without label; None leaves it out.
        predicted: integers `(H, W)`.
        class_names: of all classes.
    """
    pixels = image if image.dtype == np.uint8 else np.round(image / np.float32(257))
    shown = pixels if image.shape[-1] in (1, 3) else pixels[..., :1]
    shown = np.broadcast_to(shown, (*shown.shape[:2], 3)).astype("uint8")
    maps = [one for one in (truth, predicted) if one is not None]
    tiles = [shown, *(coloured(one, len(class_names)) for one in maps)]
    ratio = min(1.0, _SIDE / max(shown.shape[:2]))
    size = tuple(max(1, round(side * ratio)) for side in shown.shape[1::-1])
    ways = [Image.Resampling.LANCZOS, *[Image.Resampling.NEAREST] * len(maps)]
    if ratio < 1:
        tiles = [np.asarray(Image.fromarray(tile).resize(size, way)) for tile, way in zip(tiles, ways, strict=True)]
    headings = ["image", *(["truth"] if truth is not None else []), "prediction"]
    grid = picture_grid([tile[None] for tile in tiles], headings)
    return _with_legend(grid, np.unique(np.concatenate([one.ravel() for one in maps])).tolist(), class_names)


def _with_legend(picture: Image.Image, found: Sequence[int], class_names: Sequence[str]) -> Image.Image:
    """The picture, with the colours and names of classes below."""
    colours = class_colours(len(class_names))
    entries = [(class_names[k], tuple(colours[k].tolist())) for k in found if k >= 0]
    more = len(entries) - _LISTED
    entries = entries[:_LISTED] + ([(_UNLABELLED, _NO_LABEL)] if -1 in found else [])
    entries += [(f"and {more} more", _PAPER)] if more > 0 else []
    font, x, y, places = ImageFont.truetype(_FONT, 12), _GAP, 0, []
    for name, _ in entries:
        width = _SWATCH + 4 + int(font.getlength(name)) + 2 * _GAP
        if x > _GAP and x + width > picture.width:
            x, y = _GAP, y + _LINE
        places.append((x, y))
        x += width
    whole = Image.new("RGB", (picture.width, picture.height + y + _LINE + _GAP), _PAPER)
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    for (name, colour), (left, line) in zip(entries, places, strict=True):
        top = picture.height + line
        draw.rectangle((left, top, left + _SWATCH, top + _SWATCH), fill=colour)
        draw.text((left + _SWATCH + 4, top - 1), name, fill=_INK, font=font)
    return whole
