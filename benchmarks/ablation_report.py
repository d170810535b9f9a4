"""The ablation table as Markdown and as a picture, with what the paper found beside."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.ablation_rows import BASELINE, ROWS, Row

FASTER = 2.0  # by how much a step without mask tokens in the encoder should be faster, at a ratio of 0.75
_INK, _LIGHT, _OURS, _PAPER = (51, 51, 51), (225, 225, 225), (31, 119, 180), (255, 127, 14)
_LINE, _NAMES, _PANEL = 24, 250, 250


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
    picture(rows, accuracies).save(os.path.join(folder, "table.png"), optimize=True)
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


def picture(rows: list[Row], accuracies: dict[str, list[float]]) -> Image.Image:
    """Our accuracies, a dot for each seed and a bar at their mean, beside the paper's change."""
    head, foot = 46, 30
    image = Image.new("RGB", (_NAMES + 2 * _PANEL + 40, head + _LINE * len(rows) + foot), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    font, small = ImageFont.load_default(13), ImageFont.load_default(11)
    every = [100 * value for row in rows for value in accuracies[row.name]]
    low, high = np.floor(min(every) - 0.5), np.ceil(max(every) + 0.5)
    left = _NAMES + 10
    changes = [row.paper[1] - row.paper[0] for row in rows if row.paper] or [0.0]
    first, last = min(-1.0, *changes) - 1, max(1.0, *changes) + 1
    right = left + _PANEL + 10

    def x_of(value: float, low: float, high: float, begin: int) -> float:
        return begin + (_PANEL - 20) * (value - low) / (high - low)

    baseline = x_of(100 * np.mean(accuracies[BASELINE]), low, high, left)
    zero = x_of(0.0, first, last, right)
    bottom = head + _LINE * len(rows)
    draw.text((left, 6), "ours: test accuracy, %", fill=_OURS, font=font)
    draw.text((right, 6), "paper: change of the linear probe", fill=_PAPER, font=font)
    for x in (baseline, zero):
        draw.line([(x, head - 6), (x, bottom)], fill=_LIGHT, width=2)
    for value, place in ((low, left), (high, left + _PANEL - 20)):
        draw.text((place, bottom + 6), f"{value:g}", fill=_INK, anchor="mt", font=small)
    draw.text((baseline, 28), "baseline", fill=_INK, anchor="mt", font=small)
    for number, row in enumerate(rows):
        y = head + _LINE * number + _LINE // 2
        draw.text((_NAMES, y), row.name, fill=_INK, anchor="rm", font=font)
        values = [x_of(100 * value, low, high, left) for value in accuracies[row.name]]
        for x in values:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], outline=_OURS)
        draw.line([(np.mean(values), y - 7), (np.mean(values), y + 7)], fill=_OURS, width=3)
        if row.paper:
            end = x_of(row.paper[1] - row.paper[0], first, last, right)
            draw.line([(zero, y), (end, y)], fill=_PAPER, width=7)
        if row.name != BASELINE:
            note = _of_paper(row).partition(" (")[0]
            draw.text((right + _PANEL - 14, y), note, fill=_PAPER, anchor="lm", font=small)
    return image


def _mean_and_spread(values: np.ndarray) -> str:
    return f"{values.mean():.1f}" + (f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else "")


def _signed(mean: float, spread: float) -> str:
    return f"{mean:+.1f}" + (f" ± {spread:.1f}" if np.isfinite(spread) else "")


def _of_paper(row: Row) -> str:
    """The paper's change, and its two numbers."""
    if row.paper is None:
        return {1: "better", -1: "worse", 0: "-"}[row.expected_sign]
    return f"{row.paper[1] - row.paper[0]:+.1f} ({row.paper[0]} to {row.paper[1]})"
