"""Reports in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_IN_A_TABLE = 20  # classes, labels or numbers that are printed


def report_lines(report: dict[str, Any]) -> list[str]:
    """The report of any task in words, with a table if it has few rows."""
    lines = _of_classes if "classes" in report else _of_labels if "labels" in report else _of_numbers
    return [*lines(report), *report["notes"]]


def _of_classes(report: dict[str, Any]) -> list[str]:
    top5 = f", top-5 {100 * report['top5']:.1f} %" if "top5" in report else ""
    auc = "" if report["auc"] is None else f", AUC {report['auc']:.4f}"
    averages = ", ".join(f"{name} {_percent(report[name])}" for name in ("precision", "recall"))
    return [
        f"top-1 {_percent(report['top1'])}{top5}; the largest class: {_percent(report['majority_share'])} of "
        f"{report['images']} images; expected calibration error {_percent(report['ece'])}",
        f"mean over the classes: {averages}, F1 {_percent(report['f1'])}{auc}",
        *_table(
            ("class", "images", "precision", "recall", "F1", "AUC"),
            [
                [
                    one["class"],
                    str(one["images"]),
                    *(_percent(one[key]) for key in ("precision", "recall", "f1")),
                    _four(one["auc"]),
                ]
                for one in report["per_class"]
            ],
        ),
    ]


def label_summary(measures: dict[str, Any]) -> str:
    """The means over several labels, of a report or of `results.json`."""
    return (
        f"mean AUC {_four(measures['auc'])}, average precision {_four(measures['average_precision'])}, "
        f"F1 {_percent(measures['f1'])}"
    )


def _of_labels(report: dict[str, Any]) -> list[str]:
    return [
        f"{label_summary(report)}, Brier score {_four(report['brier'])}, expected calibration error "
        f"{_percent(report['ece'])}; {report['images']} images",
        *_table(
            ("label", "with it", "AUC", "precision", "recall", "F1", "ECE"),
            [
                [
                    one["label"],
                    str(one["positives"]),
                    _four(one["auc"]),
                    *(_percent(one[key]) for key in ("precision", "recall", "f1", "ece")),
                ]
                for one in report["per_label"]
            ],
        ),
    ]


def _of_numbers(report: dict[str, Any]) -> list[str]:
    keys = ("rmse", "rmse_of_mean", "mae", "mae_of_mean", "r2", "correlation")
    return [
        f"{report['images']} images; always answering the mean has the errors (mean)",
        *_table(
            ("number", "RMSE", "(mean)", "MAE", "(mean)", "R^2", "correlation"),
            [[one["output"], *(_number(one[key]) for key in keys)] for one in report["per_output"]],
        ),
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if len(rows) > _IN_A_TABLE:
        return []
    width = max(len(line[0]) for line in (heads, *rows))
    return [f"{line[0]:{width}}" + "".join(f"{cell:>12}" for cell in line[1:]) for line in (heads, *rows)]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
