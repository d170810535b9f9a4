"""A picture of a confusion matrix."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image

_NUMBERED, _NAMED = 20, 100  # the largest numbers of classes with counts in the cells, and with names at the edges
_LONGEST = 24  # letters of a name


def confusion_picture(confusions: np.ndarray, class_names: Sequence[str]) -> Image.Image:
    """Draws a row for each true class, whose colours are shares of the class's images: white for none, dark for all.

    Colours follow the square root of the share, so that a confusion of one image in a hundred can be seen. Up to 20
    classes have the numbers of images in the cells, up to 100 their names at the edges. A class without images has a
    gray row.

    Args:
        confusions: int `(K, K)`.
        class_names: `K` names.
    """
    from matplotlib import colors, figure, ticker
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    classes = len(class_names)
    images = confusions.sum(axis=1, keepdims=True)
    shares = np.where(images > 0, confusions / np.maximum(images, 1), np.nan)
    side = max(2.5, 0.5 * classes) if classes <= _NUMBERED else max(10, 0.13 * min(classes, _NAMED))
    canvas = FigureCanvasAgg(figure.Figure((side, side), dpi=100))  # in inches
    axes = canvas.figure.add_axes((0, 0, 1, 1), xlabel="predicted class", ylabel="true class")  # text lies outside
    axes.set_facecolor("0.85")
    drawn = axes.imshow(shares, cmap="Blues", norm=colors.PowerNorm(0.5, 0, 1), interpolation="nearest")
    bar = canvas.figure.colorbar(drawn, cax=canvas.figure.add_axes((1 + 0.3 / side, 0, 0.15 / side, 1)))
    bar.set_ticks((0, 0.01, 0.1, 0.25, 0.5, 1), labels=("0", "1 %", "10 %", "25 %", "50 %", "100 %"))
    bar.set_label("share of the true class's images")
    labels = [_shortened(name) for name in class_names] if classes <= _NAMED else []
    if labels:
        size = 10 if classes <= _NUMBERED else 7
        axes.set_xticks(range(classes), labels, rotation=90, fontsize=size)
        axes.set_yticks(range(classes), labels, fontsize=size)
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_parse_math(False)  # a name may hold $
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(ticker.MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    if classes <= _NUMBERED:
        for (row, column), count in np.ndenumerate(confusions):
            dark = shares[row, column] > 0.35
            digits = len(str(count))
            axes.text(
                column, row, str(count), ha="center", va="center", fontsize=max(5, 10 - max(0, digits - 3)),
                color="white" if dark else "0.6" if count == 0 else "black",
            )  # fmt: skip
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # shown as boxes
        canvas.print_figure(buffer, format="png", bbox_inches="tight")
    return Image.open(buffer).convert("RGB")


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
