"""Which curves a run has, and what is marked on them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from keras_mae.run_report.logs import Bins, number
from keras_mae.run_report.numbers import BYTES, COUNT, PLAIN, SHARE
from keras_mae.run_report.record import RunRecord

_MARKS = 150  # on a chart; more steps than these are marked together
_NOT_DRAWN = {"epoch", "step", "seconds", "skipped_steps", "lr"}
_SHARES = {"accuracy", "top5_accuracy", "knn", "ridge", "consistency", "waiting_for_data"}
_SHARES |= {"pixel_accuracy", "mean_iou"}
_TRAINED = {"loss", "accuracy", "top5_accuracy", "auc", "pixel_accuracy", "mean_iou"}  # of images to train on, too
_LOWER_IS_BETTER = {"val_loss"}
_HIGHER_IS_BETTER = _SHARES - {"waiting_for_data"}
_HIGHER_IS_BETTER |= {"auc", "rankme", "knn_auc", "ridge_auc", "knn_r2", "ridge_r2"}
QUALITY = ("knn", "ridge", "consistency", "rankme")  # beginnings of the names of measures while pretraining
_NAMES = {
    "knn": "kNN",
    "knn_auc": "kNN AUC",
    "knn_r2": "kNN R²",
    "ridge_auc": "ridge AUC",
    "ridge_r2": "ridge R²",
    "rankme": "RankMe",
    "alignment": "alignment of two crops",
    "consistency": "consistency of two crops",
    "auc": "AUC",
    "mean_iou": "mean IoU",
    "top5_accuracy": "top-5 accuracy",
    "images_per_second": "images a second",
    "waiting_for_data": "time that steps waited for data",
    "evaluation_seconds": "seconds of the evaluation",
    "gradient_norm": "median gradient norm",
    "largest_gradient_norm": "largest gradient norm",
    "memory": "memory used at most",
}
# The curves of one chart, by the beginnings of their names; all others have a chart each
_TOGETHER = {
    "Loss": ("loss",),
    "Quality of the features": ("knn", "ridge", "consistency"),
    "Gradient norm": ("gradient_norm", "largest_gradient_norm"),
}
WAITING = "Time that steps waited for data"  # from zero on
_FIRST = ("Loss", "Quality of the features", "RankMe")
_LAST = (
    "Gradient norm",
    "Learning rate",
    "Images a second",
    "Memory used at most",
    WAITING,
    "Seconds of the evaluation",
)


@dataclasses.dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        label: its name.
        key: of the numbers in the log.
        x, y: its points; there are gaps where y is NaN.
        colour, dash: numbers of its looks.
        best: place of its best point; None for a line that has none.
    """

    label: str
    key: str
    x: list[float]
    y: list[float]
    colour: int
    dash: int
    best: int | None = None


@dataclasses.dataclass(frozen=True)
class Band:
    """The range of a number over steps, with the colour of a line; `single` if each place is one step."""

    x: np.ndarray
    low: np.ndarray
    high: np.ndarray
    colour: int
    single: bool = False

    @property
    def look(self) -> str:
        """Classes of the style sheet."""
        return f"band{' single' if self.single else ''} c{self.colour}"


@dataclasses.dataclass(frozen=True)
class Chart:
    """Lines over epochs.

    Attributes:
        title: of the chart.
        kind: what the numbers are, see `numbers`.
        series: at least one, or a band.
        bands: ranges over the steps.
        reference: a number and its name, which is a dashed line; or None.
        marks: places of steps that were skipped or clipped, and texts on them.
    """

    title: str
    kind: str
    series: list[Series]
    bands: list[Band] = dataclasses.field(default_factory=list)
    reference: tuple[float, str] | None = None
    marks: list[tuple[float, str]] = dataclasses.field(default_factory=list)


def charts_of(runs: Sequence[RunRecord], labels: Sequence[str]) -> list[Chart]:
    """The charts of a run, or those of several with a line for each.

    Args:
        runs: at least one.
        labels: names of the runs, if there are several.
    """
    keys = dict.fromkeys(key for one in runs for epoch in one.epochs for key in epoch)
    groups: dict[str, list[str]] = {}
    for key in keys:
        if _drawn(key, runs):
            groups.setdefault(_group(key), []).append(key)
    if runs[0].steps and len(runs) == 1:  # such as before the first epoch's end
        for key, title in (("loss", "Loss"), ("gradient_norm", "Gradient norm")):
            if key in runs[0].steps.values:
                groups.setdefault(title, [])
    found = [chart for title, names in groups.items() for chart in _charts(title, names, runs, labels)]
    found = [chart for chart in found if chart.series or chart.bands]
    return sorted(found, key=lambda chart: _place(chart.title))


def _charts(title: str, keys: list[str], runs: Sequence[RunRecord], labels: Sequence[str]) -> list[Chart]:
    kinds = set(map(kind_of, keys))
    kind = kinds.pop() if len(kinds) == 1 else PLAIN
    if len(runs) > 1:
        return [_compared(title if len(keys) == 1 else _titled(title, key), key, runs, labels) for key in keys]
    (one,) = runs
    keys = sorted(keys, key=lambda key: (key.startswith("val_"), keys.index(key)))
    series = [_series(one, key, name_of(key, len(keys) > 1), place, place) for place, key in enumerate(keys)]
    chart = Chart(title, kind, series)
    if title == "Loss":
        chart = dataclasses.replace(chart, bands=_bands(one, "loss", 0), reference=reference_of(one))
    if title == "Gradient norm":
        chart = dataclasses.replace(chart, bands=_bands(one, "gradient_norm", 0))
    if title in ("Loss", "Gradient norm"):
        chart = dataclasses.replace(chart, marks=_marks(one))
    return [chart]


def _compared(title: str, key: str, runs: Sequence[RunRecord], labels: Sequence[str]) -> Chart:
    lines = [_series(one, key, labels[place], place, place) for place, one in enumerate(runs)]
    return Chart(title, kind_of(key), [line for line in lines if line.x])


def _titled(title: str, key: str) -> str:
    name = name_of(key, True)
    return f"{title}: {name}" if title in _TOGETHER else name[:1].upper() + name[1:]


def _drawn(key: str, runs: Sequence[RunRecord]) -> bool:
    """Whether a number of the log has a curve: it is finite somewhere, and says something of more than one run."""
    if len(runs) == 1 and key == "loss":  # finite or not
        return True
    holders = [one for one in runs if any(math.isfinite(number(epoch.get(key))) for epoch in one.epochs)]
    if len(runs) > 1 and key.removeprefix("val_") == "loss" and len({one.program for one in runs}) > 1:
        return False  # losses of different kinds
    return key not in _NOT_DRAWN and len(holders) >= min(2, len(runs))


def _group(key: str) -> str:
    for title, names in _TOGETHER.items():
        base = key.removeprefix("val_")
        if base in names or title.startswith("Quality") and base.split("_")[0] in names:
            return title
    name = name_of(key.removeprefix("val_"), False)
    return name[:1].upper() + name[1:]


def name_of(key: str, told_apart: bool) -> str:
    """The name of a number in the log, in words; of images to train or to test on if it must be told apart."""
    base = key.removeprefix("val_")
    name = _NAMES.get(base, base.replace("_", " "))
    if not told_apart or key == base and base not in _TRAINED:
        return name
    return f"{name}, {'test' if key != base else 'training'}"


def kind_of(key: str) -> str:
    """What a number of the log is, see `numbers`."""
    base = key.removeprefix("val_")
    if base in _SHARES:
        return SHARE
    return {"memory": BYTES, "images_per_second": COUNT}.get(base, PLAIN)


def _series(one: RunRecord, key: str, label: str, colour: int, dash: int) -> Series:
    points = [(epoch["epoch"], epoch[key]) for epoch in one.epochs if key in epoch]
    x, y = [point[0] for point in points], [point[1] for point in points]
    return Series(label, key, x, y, colour, dash, best_of(key, y))


def best_of(key: str, values: Sequence[float]) -> int | None:
    """The place of the best of a run's numbers, the first of equal ones; None if none is better than others."""
    finite = [place for place, value in enumerate(values) if math.isfinite(value)]
    if len(finite) < 2:
        return None
    if key in _LOWER_IS_BETTER:
        return min(finite, key=lambda place: values[place])
    tested = key.startswith("val_") or key.split("_")[0] in QUALITY
    if tested and key.removeprefix("val_") in _HIGHER_IS_BETTER:
        return max(finite, key=lambda place: values[place])
    return None


def _bands(one: RunRecord, key: str, colour: int) -> list[Band]:
    bins: Bins | None = one.steps.values.get(key) if one.steps else None
    if bins is None or one.steps_per_epoch is None:
        return []
    single = bool((bins.first == bins.last).all())
    return [Band((bins.first + bins.last) / 2 / one.steps_per_epoch, bins.low, bins.high, colour, single)]


def _marks(one: RunRecord) -> list[tuple[float, str]]:
    """Steps that were not taken as computed; neighbours share a mark if there are many."""
    per_epoch = one.steps_per_epoch
    if one.steps is None or per_epoch is None or not len(one.steps.event_steps):
        return []
    steps = one.steps.event_steps
    listed = {event.step: f"step {event.step:,}: {event.kind}, {event.reason}" for event in one.steps.events}
    found = []
    for few in np.array_split(steps, min(len(steps), _MARKS)):
        first, last = int(few[0]), int(few[-1])
        said = listed.get(first, f"step {first:,}") if first == last else f"{len(few)} steps, {first:,} to {last:,}"
        found.append(((first + last) / 2 / per_epoch, said))
    return found


def reference_of(one: RunRecord) -> tuple[float, str] | None:
    """The loss of a prediction without detail, and its name."""
    known = one.record.get("reference")
    if isinstance(known, dict) and math.isfinite(number(known.get("loss"))):
        return float(known["loss"]), str(known.get("prediction", ""))
    value = number(one.results.get("reference_loss"))  # the demo's
    return (value, "each patch's mean") if math.isfinite(value) else None


def _place(title: str) -> tuple[int, int]:
    for row, names in enumerate((_FIRST, (), _LAST)):
        for place, name in enumerate(names):
            if title.startswith(name):
                return row, place
    return 1, 0
