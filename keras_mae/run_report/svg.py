"""A chart as SVG, which needs no script."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from keras_mae.run_report import charts, numbers
from keras_mae.run_report.charts import Band, Chart, Series
from keras_mae.run_report.tags import Markup, text

COLOURS, DASHES = 10, 4  # of which there are classes in the style sheet
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 270, 76, 28, 14, 40
_POINTS = 600  # of a line; more are thinned out, and the extremes stay
_DOTS = 40  # points that are marked


@dataclasses.dataclass(frozen=True)
class Axes:
    """The ranges of a chart.

    Attributes:
        x, y: smallest and largest values.
        log: whether the values of y are drawn by their logarithm.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool = False

    def across(self, x: float) -> float:
        """Where a value of x lies in the picture."""
        low, high = self.x
        return LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(self, y: float) -> float:
        """Where a value of y lies in the picture."""
        low, high, value = *self.y, y
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(y, low))
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)


def axes_of(chart: Chart, log: bool = False) -> Axes:
    """The axes that hold all of a chart, with some room above and below."""
    x = [value for line in chart.series for value in line.x] + [
        float(value) for band in chart.bands for value in band.x
    ]
    y = finite_values(chart)
    if log:
        y = [value for value in y if value > 0]
    left, right = (min(x), max(x)) if x else (0.0, 1.0)
    low, high = (min(y), max(y)) if y else (0.0, 1.0)
    if left == right:
        left, right = left - 1, right + 1
    elif chart.bands:
        left = 0.0
    if log:
        room = max(0.04 * math.log10(high / low), 0.02)
        return Axes((left, right), (low / 10**room, high * 10**room), True)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    from_zero = chart.kind in (numbers.BYTES, numbers.COUNT) or chart.title == charts.WAITING
    bottom = low - room if low < 0 else 0.0 if from_zero else max(0.0, low - room)
    top = min(1.0, high + room) if chart.kind == numbers.SHARE and high <= 1 else high + room
    return Axes((left, right), (bottom, top) if top > bottom else (bottom, bottom + room))


def finite_values(chart: Chart) -> list[float]:
    """All finite values that a chart shows."""
    values = [value for line in chart.series for value in line.y]
    values += [float(value) for band in chart.bands for edge in (band.low, band.high) for value in edge]
    values += [chart.reference[0]] if chart.reference else []
    return [value for value in values if math.isfinite(value)]


def scales(chart: Chart) -> tuple[bool, bool]:
    """Whether a logarithmic scale is of use, and whether it is the better one to begin with."""
    values = finite_values(chart)
    if not values or min(values) <= 0 or chart.kind in (numbers.SHARE, numbers.BYTES, numbers.COUNT):
        return False, False
    return max(values) / min(values) > 3, max(values) / float(np.median(values)) > 20


def picture(chart: Chart, log: bool, hidden: bool, label: str) -> Markup:
    """The SVG of a chart.

    Args:
        chart: to draw.
        log: whether the values are drawn by their logarithm.
        hidden: whether another form is shown first.
        label: what a screen reader says.
    """
    axes = axes_of(chart, log)
    parts = [*_grid(axes, chart), *(_band(axes, band) for band in chart.bands)]
    if chart.reference:
        y = axes.down(chart.reference[0])
        parts.append(f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    parts += [_line(axes, line) for line in chart.series]
    parts += [_mark(axes, x, said) for x, said in chart.marks if axes.x[0] <= x <= axes.x[1]]
    parts.append(f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" x1="-9" x2="-9"/>')
    state = " hidden" if hidden else ""
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" data-scale="'
        f'{"log" if log else "linear"}"{state} aria-label="{text(label)}">\n' + "\n".join(parts) + "\n</svg>"
    )


def _grid(axes: Axes, chart: Chart) -> Iterator[str]:
    """Lines and numbers of the axes."""
    low, high = axes.y
    places = numbers.log_ticks(low, high, 6) if axes.log else numbers.ticks(low, high, 5)
    for value, shown in zip(places, numbers.tick_texts(places, chart.kind), strict=True):
        y = axes.down(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 7}" y="{y:.1f}" dy=".35em" text-anchor="end">{text(shown)}</text>'
    bottom = HEIGHT - BOTTOM
    yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
    for value in numbers.ticks(*axes.x, 6, whole=axes.x[1] - axes.x[0] >= 2):
        x, shown = axes.across(value), numbers.shown(value)
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{text(shown)}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text class="tick" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">epoch</text>'


def _line(axes: Axes, line: Series) -> str:
    x, y = thinned(line)
    places = [_place(axes, *point) for point in zip(x, y, strict=True)]
    look = f"c{line.colour % COLOURS} d{line.dash % DASHES}"
    drawn, last = [], None
    for place, following in zip(places, [*places[1:], None], strict=True):
        if place is not None:
            drawn.append(f"{'L' if last else 'M'}{place}")
            if not last and following is None:  # a point alone
                drawn.append(f"L{place}")
        last = place
    dots = ""
    if len(x) <= _DOTS:
        dots = "".join(f"M{place}h0" for place in places if place)
        dots = f'<path class="dots c{line.colour % COLOURS}" d="{dots}"/>' if dots else ""
    best = ""
    if line.best is not None and (place := _place(axes, line.x[line.best], line.y[line.best])):
        across, down = place.split(" ")
        best = f'<circle class="best c{line.colour % COLOURS}" cx="{across}" cy="{down}" r="6"/>'
    return f'<path class="line {look}" d="{"".join(drawn)}"/>{dots}{best}'


def _place(axes: Axes, x: float, y: float) -> str | None:
    if not math.isfinite(y) or axes.log and y <= 0:
        return None
    return f"{axes.across(x):.1f} {axes.down(y):.1f}"


def _band(axes: Axes, band: Band) -> str:
    """The range over the steps, in pieces between which there is no finite number."""
    finite = np.isfinite(band.low) & np.isfinite(band.high)
    if axes.log:
        finite &= band.low > 0
    cuts = np.flatnonzero(np.diff(finite.astype("int8")) != 0) + 1
    pieces = [piece for piece in np.split(np.arange(len(finite)), cuts) if len(piece) and finite[piece[0]]]
    drawn = []
    for piece in pieces:
        above = [f"{axes.across(band.x[i]):.1f} {axes.down(band.high[i]):.1f}" for i in piece]
        below = [f"{axes.across(band.x[i]):.1f} {axes.down(band.low[i]):.1f}" for i in piece[::-1]]
        drawn.append(f"M{'L'.join([*above, *below])}Z")
    return f'<path class="{band.look}" d="{"".join(drawn)}"/>'


def _mark(axes: Axes, x: float, said: str) -> str:
    place = axes.across(x)
    return (
        f'<path class="mark" d="M{place:.1f} {TOP + 9}l-5 -9h10z"><title>{text(said)}</title></path>'
        f'<line class="mark" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP + 9}" y2="{HEIGHT - BOTTOM}"/>'
    )


def thinned(line: Series) -> tuple[Sequence[float], Sequence[float]]:
    """The points of a line; of a long one the smallest and the largest of each few neighbours, and each gap."""
    count = len(line.x)
    if count <= _POINTS:
        return line.x, line.y
    kept: set[int] = {0, count - 1}
    y = np.array(line.y)
    for few in np.array_split(np.arange(count), _POINTS // 2):
        values = y[few]
        finite = few[np.isfinite(values)]
        if len(finite):
            kept |= {int(finite[np.argmin(y[finite])]), int(finite[np.argmax(y[finite])])}
        if len(finite) < len(few):
            kept.add(int(few[~np.isfinite(values)][0]))
    chosen = sorted(kept)
    return [line.x[i] for i in chosen], [line.y[i] for i in chosen]
