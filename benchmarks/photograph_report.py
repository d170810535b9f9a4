"""The ablation table on photographs as Markdown and as a picture, with what the papers found beside."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.photograph_rows import BASELINE, PIXELS, ROWS, UNTRAINED, Row
from benchmarks.photograph_run import PROBES
from keras_mae.whole_file import replace_file

_LIGHT, _PAPER = "#e1e1e1", "#ff7f0e"
_OURS = dict(zip(PROBES, ("#9ecae1", "#1f77b4", "#08306b"), strict=True))
_COMPARED = "linear"  # the probe that the papers' numbers are of

Measured = dict[str, list[dict]]


def change(row: Row, measured: Measured, probe: str = _COMPARED) -> tuple[float, float]:
    """Percentage points that a row gains on the baseline: mean over the seeds that both have, and spread.

    The spread is the sample's standard deviation; NaN for a single seed.
    """
    pairs = zip(measured[row.name], measured[BASELINE])
    gains = [100 * (ours["accuracy"][probe] - base["accuracy"][probe]) for ours, base in pairs]
    return float(np.mean(gains)), float(np.std(gains, ddof=1)) if len(gains) > 1 else float("nan")


def verdict(row: Row, measured: Measured) -> str:
    """Whether the linear probe's change has the paper's sign."""
    mean, spread = change(row, measured)
    if not row.expected_sign:
        return ""
    if not abs(mean) > spread:
        return "no clear difference" if np.isfinite(spread) else "one seed: no spread"
    return "as in the paper" if mean * row.expected_sign > 0 else "**differs from the paper**"


def write_report(measured: Measured, folder: str) -> str:
    """Writes `table.md` and `table.png`.

    Args:
        measured: results of each seed, by the row's name; rows that are missing are left out.
        folder: where to.

    Returns:
        The table.
    """
    rows = [row for row in ROWS if row.name in measured]
    text = markdown(rows, measured)
    replace_file(os.path.join(folder, "table.md"), lambda path: Path(path).write_text(text, encoding="utf-8"))
    replace_file(os.path.join(folder, "table.png"), picture(rows, measured).savefig)
    return text


def markdown(rows: list[Row], measured: Measured) -> str:
    """The table, and the time that it took."""
    lines = [
        f"| accuracy, % | {' | '.join(PROBES)} | change, linear | paper's change | sign | seeds | processor seconds |",
        f"|---|{'---|' * len(PROBES)}---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.name + (f" ({'Table ' if row.table[0].isdigit() else ''}{row.table})" if row.table else "")]
        for probe in PROBES:
            cells.append(_mean_and_spread(100 * np.array([one["accuracy"][probe] for one in measured[row.name]])))
        if row.name in (BASELINE, PIXELS, UNTRAINED):
            cells += ["" if row.name == BASELINE else _signed(*change(row, measured)), "", ""]
        else:
            cells += [_signed(*change(row, measured)), _of_paper(row), verdict(row, measured)]
        cells.append(str(len(measured[row.name])))
        cells.append(f"{np.mean([one['processor_seconds'] for one in measured[row.name]]):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    hours = sum(one["processor_seconds"] for results in measured.values() for one in results) / 3600
    num_photographs = measured[BASELINE][0]["settings"]["data"]["photographs"]
    lines += [
        "",
        f"{num_photographs} photographs; guessing gives {100 / num_photographs:.1f} %. These rows took {hours:.2f} "
        "hours of a processor core.",
        "",
    ]
    return "\n".join(lines)


def picture(rows: list[Row], measured: Measured) -> Figure:
    """Our accuracies, a circle for each seed and a bar at their mean, beside the paper's change."""
    figure = Figure((9, 1.2 + 0.25 * len(rows)), layout="constrained")
    ours, paper = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    paper.axvline(0, color=_LIGHT, zorder=0)
    for probe in PROBES:
        base = 100 * np.mean([one["accuracy"][probe] for one in measured[BASELINE]])
        ours.axvline(base, color=_OURS[probe], linewidth=0.6, zorder=0)
        for place, row in enumerate(rows):
            values = 100 * np.array([one["accuracy"][probe] for one in measured[row.name]])
            ours.plot(values, [place] * len(values), "o", color=_OURS[probe], fillstyle="none", markersize=4)
            label = probe if place == 0 else None
            ours.plot(values.mean(), place, "|", color=_OURS[probe], markersize=10, markeredgewidth=3, label=label)
    for place, row in enumerate(rows):
        if row.paper:
            paper.barh(place, row.paper[1] - row.paper[0], 0.3, color=_PAPER)
        if row.expected_sign:
            note = _of_paper(row).partition(" (")[0]
            paper.annotate(note, (1.02, place), xycoords=paper.get_yaxis_transform(), color=_PAPER, va="center")
    ours.set_yticks(range(len(rows)), [row.name for row in rows])
    ours.invert_yaxis()
    ours.set_title("ours: test accuracy, %; lines: the baseline", fontsize="medium")
    ours.legend(loc="upper center", bbox_to_anchor=(0.5, -0.05 - 0.5 / len(rows)), ncols=len(PROBES), frameon=False)
    paper.set_title("papers: change of the linear probe", color=_PAPER, fontsize="medium")
    for axes in (ours, paper):
        axes.tick_params("y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _mean_and_spread(values: np.ndarray) -> str:
    return f"{values.mean():.1f}" + (f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else "")


def _signed(mean: float, spread: float) -> str:
    return f"{mean:+.1f}" + (f" ± {spread:.1f}" if np.isfinite(spread) else "")


def _of_paper(row: Row) -> str:
    """The paper's change, and its two numbers."""
    if row.paper is None:
        return {1: "better", -1: "worse", 0: ""}[row.expected_sign]
    return f"{row.paper[1] - row.paper[0]:+.1f} ({row.paper[0]} to {row.paper[1]})"
