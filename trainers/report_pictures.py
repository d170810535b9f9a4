"""Pictures of reports: curves, reliability diagrams, and predictions against labels."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from keras_mae.trainers.calibration import BINS, Calibration
from keras_mae.trainers.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURED = 10  # curves with a colour and a name of their own; more are gray, with their mean
_PANELS = 12  # diagrams or scatters in a picture
_COLUMNS = 4  # of panels
_POINTS = 1000  # of a curve
_DOTS = 5000  # of a scatter
_LONGEST = 24  # letters of a name
_SIDE = 4.2  # of a panel, in inches of 100 pixels
_GRID, _BLUE, _GRAY, _DARK = "#e1e1e1", "#1f77b4", "0.75", "0.4"


def curves_picture(curves: Mapping[str, Curve]) -> Image.Image:
    """ROC curves and precision-recall curves beside each other.

    Up to ten curves have a colour each, and names with AUC and average precision; more are gray, and the line over them
    is their mean, at each false positive rate or recall.

    Args:
        curves: of classes or labels, by name, at least one.
    """
    from matplotlib import colormaps

    figure, (roc, precision) = _figure(2, 1, _SIDE + 0.6)
    _square(roc, "false positive rate", "true positive rate")
    _square(precision, "recall", "precision")
    roc.plot((0, 1), (0, 1), color=_DARK, linestyle=":", linewidth=1)
    many = len(curves) > _COLOURED
    for number, (name, curve) in enumerate(curves.items()):
        style = {"color": _GRAY, "linewidth": 0.6} if many else {"color": colormaps["tab10"](number)}
        area = float(np.trapezoid(curve.recall, curve.false_positive_rate))
        _line(roc, *_thinned(curve.false_positive_rate, curve.recall), f"{_short(name)} {area:.3f}", style)
        shape = {**style, "drawstyle": "steps-pre"}
        points = _thinned(curve.recall, curve.precision)
        _line(precision, *points, f"{_short(name)} {curve.average_precision:.3f}", shape)
    if many:
        at, every = np.linspace(0, 1, _POINTS), list(curves.values())
        areas = [float(np.trapezoid(one.recall, one.false_positive_rate)) for one in every]
        rates = [np.interp(at, one.false_positive_rate, one.recall) for one in every]
        found = [one.precision[np.searchsorted(one.recall, at)] for one in every]
        means = (np.mean(areas), np.mean([one.average_precision for one in every]))
        for axes, values, mean in ((roc, rates, means[0]), (precision, found, means[1])):
            label = f"mean of {len(every)} {mean:.3f}"
            _line(axes, at, np.mean(values, axis=0), label, {"color": _BLUE, "linewidth": 2.5})
    legends: Any = ((roc, "AUC", "lower right"), (precision, "average precision", "lower left"))
    for axes, title, place in legends:
        handles, names = axes.get_legend_handles_labels()
        shown = slice(-1, None) if many else slice(None)
        legend = axes.legend(handles[shown], names[shown], title=title, loc=place, fontsize=8, framealpha=0.9)
        for text in legend.get_texts():
            text.set_parse_math(False)  # a name may hold $
    return _drawn(figure)


def calibration_picture(calibrations: Mapping[str, Calibration]) -> Image.Image:
    """A reliability diagram for each of up to twelve: how often came true what had a probability.

    On the dashed line, probabilities are those with which things come true; below it they are too high. Gray bars are
    the shares of the examples in each of 15 bins.

    Args:
        calibrations: by name.
    """

    def draw(axes: Axes, number: int) -> None:
        name, calibration = list(calibrations.items())[number]
        edges = (np.arange(BINS) + 0.5) / BINS
        axes.bar(edges, calibration.count / max(1, calibration.count.sum()), 1 / BINS, color="0.88", edgecolor="white")
        axes.plot((0, 1), (0, 1), color=_DARK, linestyle="--", linewidth=1)
        known = calibration.count > 0
        axes.plot(calibration.mean_probability[known], calibration.true_share[known], "o-", color=_BLUE, markersize=5)
        _square(axes, "probability", "came true")
        error = f"expected calibration error {100 * calibration.error:.1f} %"
        axes.set_title(f"{_short(name)}\n{error}", fontsize=10, parse_math=False)

    return _panels(len(calibrations), draw)


def scatter_picture(names: Sequence[str], labels: np.ndarray, predictions: np.ndarray) -> Image.Image:
    """Predictions against labels for each of up to twelve outputs, of at most 5,000 images, evenly chosen.

    Args:
        names: of the outputs, `T`.
        labels, predictions: `(N, T)`.
    """
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), _DOTS)).astype(int))

    def draw(axes: Axes, number: int) -> None:
        x, y = labels[chosen, number], predictions[chosen, number]
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        margin = 0.04 * (high - low) or 0.5
        ends = (low - margin, high + margin)
        axes.plot(ends, ends, color=_DARK, linestyle="--", linewidth=1)
        axes.plot(x, y, "o", color=_BLUE, markersize=4, alpha=max(0.08, min(0.7, 300 / len(x))), markeredgewidth=0)
        axes.set(xlim=ends, ylim=ends, xlabel="label", ylabel="prediction")
        axes.ticklabel_format(scilimits=(-3, 4))
        axes.grid(color=_GRID, linewidth=0.6)
        rmse = math.sqrt(np.mean((predictions[:, number] - labels[:, number]) ** 2))
        axes.set_title(f"{_short(names[number])}\nRMSE {rmse:.4g}", fontsize=10, parse_math=False)

    return _panels(len(names), draw)


def _panels(count: int, draw: Callable[[Axes, int], None]) -> Image.Image:
    """Squares in rows of four, each drawn by a function of its axes and number."""
    shown = min(count, _PANELS)
    columns = min(_COLUMNS, shown)
    figure, squares = _figure(columns, -(-shown // columns), _SIDE)
    for number in range(shown):
        draw(squares[number], number)
    for empty in squares[shown:]:
        empty.remove()
    if count > shown:
        figure.text(0.5, 0.005, f"{shown} of {count}", fontsize=10, ha="center")
    return _drawn(figure)


def _figure(columns: int, rows: int, side: float) -> tuple[Any, list[Axes]]:
    """A figure, and its squares row by row; places are given, as a layout that is found takes seconds."""
    from matplotlib import figure

    made = figure.Figure((columns * side, rows * side), dpi=100)
    left, bottom, inner = 0.75, 0.6, side - 1.1  # in inches, with two lines above
    places = [
        (column * side + left, (rows - 1 - row) * side + bottom) for row in range(rows) for column in range(columns)
    ]
    size = (inner / (columns * side), inner / (rows * side))
    return made, [made.add_axes((x / (columns * side), y / (rows * side), *size)) for x, y in places]


def _drawn(figure: Any) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # shown as boxes
        FigureCanvasAgg(figure).print_figure(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def _square(axes: Axes, across: str, up: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=across, ylabel=up)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def _line(axes: Axes, x: np.ndarray, y: np.ndarray, label: str, style: Mapping[str, Any]) -> None:
    axes.plot(x, y, label=label, **{"linewidth": 1.5, **style})


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most 1,000 of a curve's points, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).astype(int))
    return x[chosen], y[chosen]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
