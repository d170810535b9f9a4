"""The ablation table as Markdown and as a picture, with what the paper found beside."""

from __future__ import annotations

import os

import numpy as np
from matplotlib.figure import Figure

from benchmarks.ablation_rows import BASELINE, ROWS, Row

FASTER = 2.0  # by how much a step without mask tokens in the encoder should be faster, at a ratio of 0.75
_LIGHT, _OURS, _PAPER = "#e1e1e1", "#1f77b4", "#ff7f0e"


def change(row: Row, accuracies: dict[str, list[float]]) -> tuple[float, float]:
    """Percentage points that a row gains on the baseline: mean over the seeds that both have, and spread.

    The spread is the sample's standard deviation; NaN for a single seed.
    """
    pairs = list(zip(accuracies[row.name], accuracies[BASELINE]))
    gains = [100 * (ours - base) for ours, base in pairs]
    return float(np.mean(gains)), float(np.std(gains, ddof=1)) if len(gains) > 1 else float("nan")


def verdict(row: Row, accuracies: dict[str, list[float]]) -> str:
    """Whether the change has the paper's sign."""
    mean, spread = change(row, accuracies)
    if not row.expected_sign:
        return "the paper gives no number"
    if not abs(mean) > spread:
        return "no clear difference" if np.isfinite(spread) else "one seed: no spread"
    return "as in the paper" if mean * row.expected_sign > 0 else "**differs from the paper**"


def write_report(accuracies: dict[str, list[float]], step_times: dict[str, float], folder: str) -> str:
    """Writes `table.md` and `table.png`.

    Args:
        accuracies: of each seed, by the row's name; rows that are missing are left out.
        step_times: milliseconds, `outside` and `inside`: mask tokens in the decoder only, and in the encoder.
        folder: where to.

    Returns:
        The table.
    """
    rows = [row for row in ROWS if row.name in accuracies]
    text = markdown(rows, accuracies, step_times)
    with open(os.path.join(folder, "table.md"), "w", encoding="utf-8") as file:
        file.write(text)
    picture(rows, accuracies).savefig(os.path.join(folder, "table.png"))
    return text


def markdown(rows: list[Row], accuracies: dict[str, list[float]], step_times: dict[str, float]) -> str:
    """The table, and the comparison of step times."""
    lines = [
        "| | accuracy, % | change | paper's change | sign |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        ours = 100 * np.array(accuracies[row.name])
        cells = [f"{row.name}{f' (Table {row.table})' if row.table[:1].isdigit() else ''}", _mean_and_spread(ours)]
        if row.table.startswith("Fig"):
            cells[0] = f"{row.name} ({row.table})"
        if row.name != BASELINE:
            cells += [_signed(*change(row, accuracies)), _of_paper(row), verdict(row, accuracies)]
        else:
            cells += ["", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    ratio = step_times["inside"] / step_times["outside"]
    outcome = "as in the paper" if ratio >= FASTER else f"**less than the {FASTER:g} times expected of the paper**"
    lines += [
        "",
        f"A training step takes {step_times['outside']:.1f} ms, and {step_times['inside']:.1f} ms with mask tokens in "
        f"the encoder: without them it is {ratio:.2f} times as fast, {outcome}.",
        "",
    ]
    return "\n".join(lines)


def picture(rows: list[Row], accuracies: dict[str, list[float]]) -> Figure:
    """Our accuracies, a circle for each seed and a bar at their mean, beside the paper's change."""
    figure = Figure((8, 1 + 0.25 * len(rows)), layout="constrained")
    ours, paper = figure.subplots(1, 2, sharey=True)
    ours.axvline(100 * np.mean(accuracies[BASELINE]), color=_LIGHT, zorder=0)
    paper.axvline(0, color=_LIGHT, zorder=0)
    for place, row in enumerate(rows):
        values = 100 * np.array(accuracies[row.name])
        ours.plot(values, [place] * len(values), "o", color=_OURS, fillstyle="none")
        ours.plot(values.mean(), place, "|", color=_OURS, markersize=11, markeredgewidth=3)
        if row.paper:
            paper.barh(place, row.paper[1] - row.paper[0], 0.3, color=_PAPER)
        if row.name != BASELINE:
            note = _of_paper(row).partition(" (")[0]
            paper.annotate(note, (1.02, place), xycoords=paper.get_yaxis_transform(), color=_PAPER, va="center")
    ours.set_yticks(range(len(rows)), [row.name for row in rows])
    ours.invert_yaxis()
    ours.set_title("ours: test accuracy, %", color=_OURS, fontsize="medium")
    paper.set_title("paper: change of the linear probe", color=_PAPER, fontsize="medium")
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
        return {1: "better", -1: "worse", 0: "-"}[row.expected_sign]
    return f"{row.paper[1] - row.paper[0]:+.1f} ({row.paper[0]} to {row.paper[1]})"
