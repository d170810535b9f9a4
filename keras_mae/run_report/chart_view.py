"""A chart on the page: its title, its lines' names, the picture, and the numbers that a script shows."""

from __future__ import annotations

import math
from typing import Any

from keras_mae.html_page import json_in_html
from keras_mae.run_report import numbers, svg
from keras_mae.run_report.charts import Chart, Series
from keras_mae.run_report.tags import Markup, text


def view(chart: Chart) -> Markup:
    """The HTML of a chart."""
    useful, first = svg.scales(chart)
    label = _in_words(chart)
    pictures = [svg.picture(chart, log, log != first, label) for log in ((False, True) if useful else (False,))]
    button = f'<button type="button" class="scale" hidden>{"linear" if first else "logarithmic"} scale</button>'
    return Markup(
        f'<figure class="chart">\n<figcaption><h3>{text(chart.title)}</h3>{button if useful else ""}</figcaption>\n'
        f'<ul class="legend">{"".join(_legend(chart))}</ul>\n'
        + "\n".join(pictures)
        + f'\n<output class="reading">{text(_last(chart))}</output>\n'
        f'<script type="application/json">{json_in_html(_data(chart))}</script>\n</figure>'
    )


def _legend(chart: Chart) -> list[str]:
    items = []
    if len(chart.series) > 1 or any(line.best is not None for line in chart.series) or chart.bands or chart.reference:
        items += [_key(f"line c{line.colour % svg.COLOURS} d{line.dash % svg.DASHES}", _named(chart, line))
                  for line in chart.series]  # fmt: skip
    items += [
        _key(band.look, "each step" if band.single else "smallest to largest of the steps") for band in chart.bands
    ]
    if chart.reference:
        value, name = chart.reference
        items.append(_key("reference", f"of predicting {name}: {numbers.shown(value)}"))
    if chart.marks:
        items.append(_key("mark", "steps that were skipped or clipped"))
    return items


def _named(chart: Chart, line: Series) -> str:
    if line.best is None:
        return line.label
    best = numbers.shown(line.y[line.best], chart.kind)
    return f"{line.label}; best {best}, epoch {line.x[line.best]:.0f} (ring)"


def _key(look: str, name: str) -> str:
    shape = '<path class="mark" d="M12 9l-5 -8h10z"/>' if look == "mark" else f'<path class="{look}" d="M1 5h22"/>'
    return f'<li><svg class="key" viewBox="0 0 24 10" aria-hidden="true">{shape}</svg>{text(name)}</li>'


def _in_words(chart: Chart) -> str:
    """What the lines show, for those who do not see them."""
    said = []
    for line in chart.series:
        finite = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
        if finite:
            (_, begin), (epoch, end) = finite[0], finite[-1]
            low, high = min(y for _, y in finite), max(y for _, y in finite)
            ranged = f"from {numbers.shown(begin, chart.kind)} to {numbers.shown(end, chart.kind)} in epoch {epoch:.0f}"
            said.append(
                f"{line.label} {ranged}, between {numbers.shown(low, chart.kind)} and {numbers.shown(high, chart.kind)}"
            )
    return f"{chart.title}: {'; '.join(said) or 'no finite number'}"


def _last(chart: Chart) -> str:
    """The last numbers, which stand below until the pointer is over the chart."""
    last = max((line.x[-1] for line in chart.series if line.x), default=None)
    if last is None:
        return "no epoch is logged yet"
    told = [_told(chart, line, line.y[-1]) for line in chart.series if line.x and line.x[-1] == last]
    return f"epoch {last:.0f}: {', '.join(told)}"


def _data(chart: Chart) -> dict[str, Any]:
    """What a script needs to tell the numbers under the pointer: places in the picture, and texts."""
    axes = svg.axes_of(chart)
    places: dict[float, list[str]] = {}
    for line in chart.series:
        for x, y in zip(*svg.thinned(line), strict=True):
            places.setdefault(x, []).append(_told(chart, line, y))
    return {
        "x": [round(axes.across(x), 1) for x in sorted(places)],
        "texts": [f"epoch {x:.0f}: {', '.join(places[x])}" for x in sorted(places)],
    }


def _told(chart: Chart, line: Series, value: float) -> str:
    return f"{line.label} {numbers.shown(value, chart.kind) if math.isfinite(value) else 'not finite'}"
