"""The main figures of a run, and the tables of its results."""

from __future__ import annotations

import math
import statistics
from typing import Any

from keras_mae.run_report import charts, numbers, tags
from keras_mae.run_report.logs import number
from keras_mae.run_report.numbers import BYTES, COUNT, PLAIN, SHARE
from keras_mae.run_report.record import RunRecord

_MOST_ROWS = 100  # of a table
# What is in results.json, its name and its kind, in the order in which it is shown
_MEASURES = {
    "top1": ("top-1 accuracy", SHARE),
    "top5": ("top-5 accuracy", SHARE),
    "mean_iou": ("mean IoU", SHARE),
    "pixel_accuracy": ("pixel accuracy", SHARE),
    "auc": ("mean AUC", PLAIN),
    "average_precision": ("average precision", PLAIN),
    "f1": ("F1", SHARE),
    "precision": ("precision", SHARE),
    "recall": ("recall", SHARE),
    "ece": ("expected calibration error", SHARE),
    "brier": ("Brier score", PLAIN),
    "normalised_rmse": ("RMSE, in shares of the labels' standard deviation", SHARE),
    "rmse": ("RMSE", PLAIN),
    "rmse_of_mean": ("RMSE of always answering the mean", PLAIN),
    "mae": ("mean absolute error", PLAIN),
    "mae_of_mean": ("mean absolute error of always answering the mean", PLAIN),
    "r2": ("R²", PLAIN),
    "knn": ("kNN", SHARE),
    "ridge": ("ridge", SHARE),
    "knn_auc": ("kNN AUC", PLAIN),
    "ridge_auc": ("ridge AUC", PLAIN),
    "knn_r2": ("kNN R²", PLAIN),
    "ridge_r2": ("ridge R²", PLAIN),
    "consistency": ("consistency of two crops", SHARE),
    "rankme": ("RankMe", PLAIN),
    "alignment": ("alignment of two crops", PLAIN),
    "loss": ("loss", PLAIN),
    "majority_share": ("always the largest class", SHARE),
    "majority_share_top5": ("always the five largest classes", SHARE),
}
_MAIN = ("top1", "mean_iou", "auc", "normalised_rmse", "rmse")
_COLUMNS = {"iou": ("IoU", SHARE), "accuracy": ("accuracy", SHARE), "auc": ("AUC", PLAIN), "f1": ("F1", SHARE)}
_OF_DEMO = {"linear_probe": "linear probe", "knn": "kNN", "10_labels_per_class": "10 labels a class"}


def figures(one: RunRecord) -> list[tuple[str, str]]:
    """Names and values of the figures that a run is judged by."""
    found = [("state", one.state)]
    found += _results(one) if one.program != "pretrain" else _quality(one)
    if losses := [epoch["loss"] for epoch in one.epochs if "loss" in epoch]:
        found.append(("loss in the last epoch", numbers.shown(losses[-1])))
    if reference := charts.reference_of(one):
        found.append((f"loss of predicting {reference[1]}", numbers.shown(reference[0])))
    found += _speed(one)
    skipped = one.epochs[-1].get("skipped_steps", 0.0) if one.epochs else 0.0
    counts = one.steps.event_counts if one.steps else {}
    if skipped > 0 and not any(kind == "skipped" for kind, _ in counts):
        found.append(("skipped steps", numbers.shown(skipped)))
    found += [(f"steps {kind}, {reason}".rstrip(", "), f"{count:,}") for (kind, reason), count in counts.items()]
    return found


def _quality(one: RunRecord) -> list[tuple[str, str]]:
    """The best epoch of each measure of the features while pretraining."""
    found = []
    keys = dict.fromkeys(key for epoch in one.epochs for key in epoch if key.split("_")[0] in charts.QUALITY)
    for key in keys:
        points = [(epoch["epoch"], epoch[key]) for epoch in one.epochs if math.isfinite(number(epoch.get(key)))]
        if not points:
            continue
        best = charts.best_of(key, [value for _, value in points])
        epoch, value = points[-1 if best is None else best]
        which = "last" if best is None else "best"
        shown = numbers.shown(value, charts.kind_of(key))
        found.append((f"{which} {charts.name_of(key, False)}", f"{shown} (epoch {epoch:.0f})"))
    best, monitor = one.results.get("best"), one.results.get("monitor")
    if isinstance(best, dict) and isinstance(monitor, str):
        found.append(("best.keras", f"epoch {best.get('epoch')} (by {charts.name_of(monitor, False)})"))
    return found


def _results(one: RunRecord) -> list[tuple[str, str]]:
    """The main measure of a head or of kNN."""
    name = next((name for name in _MAIN if name in one.results), None)
    if name is None:
        return _tested(one)
    value, (said, kind) = one.results[name], _MEASURES[name]
    found = []
    if isinstance(value, dict):
        for place, (key, inner) in enumerate(value.items()):
            if place < 3 and isinstance(inner, int | float):
                found.append((f"{said}, {f'k = {key}' if one.program == 'knn' else key}", numbers.shown(inner, kind)))
    else:
        found.append((f"{said}, last epoch", numbers.shown(number(value), kind)))
    best = one.results.get("best")
    if isinstance(best, dict):
        measured = next((name for name in _MAIN if name in best), None)
        if measured:
            (said, kind), epoch = _MEASURES[measured], best.get("epoch")
            found.append((f"{said}, best epoch", f"{numbers.shown(number(best[measured]), kind)} (epoch {epoch})"))
    if "majority_share" in one.results:
        found.append(("always the largest class", numbers.shown(number(one.results["majority_share"]), SHARE)))
    return found


def _tested(one: RunRecord) -> list[tuple[str, str]]:
    """The best epoch by the log of a run that has no results yet."""
    found = []
    for key in ("val_accuracy", "val_auc", "val_mean_iou"):
        values = [number(epoch.get(key)) for epoch in one.epochs]
        best = charts.best_of(key, values)
        if best is not None:
            name, epoch = charts.name_of(key, False), one.epochs[best]["epoch"]
            found.append(
                (f"best {name} so far", f"{numbers.shown(values[best], charts.kind_of(key))} (epoch {epoch:.0f})")
            )
    return found


def _speed(one: RunRecord) -> list[tuple[str, str]]:
    found = []
    rates = [epoch["images_per_second"] for epoch in one.epochs if epoch.get("images_per_second", math.nan) > 0]
    if rates:
        found.append(("images a second, median epoch", numbers.shown(statistics.median(rates), COUNT)))
    seconds = math.fsum(epoch["seconds"] for epoch in one.epochs if epoch.get("seconds", math.nan) > 0)
    if seconds:
        found.append(("time of the epochs", numbers.duration(seconds)))
    elif number(one.results.get("seconds")) > 0:
        found.append(("time", numbers.duration(number(one.results["seconds"]))))
    tested = math.fsum(one["evaluation_seconds"] for one in one.epochs if one.get("evaluation_seconds", math.nan) > 0)
    if tested and seconds:
        found.append(("time of the evaluation, to that of the epochs", numbers.shown(tested / seconds, SHARE)))
    memory = [epoch["memory"] for epoch in one.epochs if epoch.get("memory", math.nan) > 0]
    if memory:
        found.append(("memory used at most", numbers.shown(max(memory), BYTES)))
    return found


def results_section(one: RunRecord) -> list[str]:
    """The results of a run as HTML."""
    results = one.results
    parts: list[str] = []
    if "accuracy" in results and "program" not in results:
        parts += _demo(results)
    for title, group in (("", results), ("The best epoch", results.get("best"))):
        if isinstance(group, dict):
            measured = _measured(group, one.program == "knn")
            parts += [tags.heading(title)] if title and measured else []
            parts += measured
    report = results.get("report")
    whole = report if isinstance(report, dict) else results
    for key, title in (("per_class", "Classes"), ("per_label", "Labels"), ("per_output", "Numbers")):
        rows = whole.get(key)
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            parts += [tags.heading(title), _rows(rows, title)]
    averages = _measured({key: value for key, value in whole.items() if key not in results}, False)
    if isinstance(report, dict) and averages:
        parts += [tags.heading("Means over them"), *averages]
    notes = whole.get("notes")
    parts += [tags.note(sentence) for sentence in notes] if isinstance(notes, list) else []
    return parts


def _measured(group: dict[str, Any], of_neighbours: bool) -> list[str]:
    """Single numbers as pairs, and numbers by k or by output as a table."""
    single, several = [], {}
    for name, (said, kind) in _MEASURES.items():
        value = group.get(name)
        if isinstance(value, dict) and value:
            several[name] = value
        elif isinstance(value, int | float) or name in group and value is None:
            single.append((said, numbers.shown(number(value), kind)))
    if "epoch" in group:
        single.insert(0, ("epoch", numbers.shown(number(group["epoch"]))))
    parts: list[str] = [tags.pairs(single)]
    if not several:
        return parts if single else []
    rows: dict[str, dict[str, str]] = {}
    for name, value in several.items():
        for key, inner in value.items():
            inside = inner if isinstance(inner, dict) else {"": inner}
            for output, last in inside.items():
                by_k = of_neighbours and not name.endswith("_of_mean")
                row = f"k = {key}{output and f', {output}'}" if by_k else key
                rows.setdefault(row, {})[name] = numbers.shown(number(last), _MEASURES[name][1])
    lines = [[row, *(cells.get(name, "") for name in several)] for row, cells in rows.items()]
    heads = ["", *(_MEASURES[name][0] for name in several)]
    return [tags.table(heads, lines, "Measures", _MOST_ROWS), *parts]


def _rows(rows: list[dict[str, Any]], label: str) -> str:
    """A list of records as a table, with a column for each name."""
    names = [key for key, value in rows[0].items() if not isinstance(value, dict | list)]

    def cell(key: str, value: Any) -> str:
        if isinstance(value, str):
            return value
        kind = (_COLUMNS.get(key) or _MEASURES.get(key) or (key, PLAIN))[1]
        return f"{value:,}" if isinstance(value, int) else numbers.shown(number(value), kind)

    heads = [(_COLUMNS.get(key) or _MEASURES.get(key) or (key.replace("_", " "),))[0] for key in names]
    lines = [[cell(key, row.get(key)) for key in names] for row in rows]
    return tags.table(heads, lines, label, _MOST_ROWS)


def _demo(results: dict[str, Any]) -> list[str]:
    """The demo's accuracies by kind of features."""
    rows = [
        [features, *(numbers.shown(number(row.get(key)), SHARE) for key in _OF_DEMO)]
        for features, row in results["accuracy"].items()
        if isinstance(row, dict)
    ]
    tuned = results.get("fine_tuning_10_labels_per_class")
    more = tags.pairs(
        (f"fine-tuned on 10 labels a class, {key.replace('_', ' ')}", numbers.shown(number(value), SHARE))
        for key, value in (tuned if isinstance(tuned, dict) else {}).items()
    )
    heads = ["accuracy on 1,000 other digits", *_OF_DEMO.values()]
    return [tags.table(heads, rows, "Accuracies of the demo"), more]
