"""The results of `keras-mae knn` in words, a line for each number of neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_mae.registry import listed


def knn_lines(results: dict[str, Any], majority: Callable[[dict[str, Any]], str]) -> list[str]:
    """Lines of accuracies, areas under curves or errors.

    Args:
        results: of `keras_mae.trainers.knn.knn`.
        majority: tells of the results of classes the accuracy of always answering with the largest ones.
    """
    task = results.get("task")
    of_k = {None: _of_classes, "labels": _of_labels, "numbers": _of_numbers}[task]
    after = f"; {majority(results)}" if task is None else f"; {results['validation_images']} images"
    measured = results["top1" if task is None else "auc" if task == "labels" else "rmse"]
    return [f"k = {k:>3}: {of_k(results, k)}{after}" for k in measured]


def _of_classes(results: dict[str, Any], k: str) -> str:
    top5 = f", top-5 {100 * results['top5'][k]:.1f} %" if "top5" in results else ""
    return f"top-1 {100 * results['top1'][k]:.1f} %{top5}"


def _of_labels(results: dict[str, Any], k: str) -> str:
    auc, precision = (_four(results[key][k]) for key in ("auc", "average_precision"))
    return f"mean AUC {auc}, average precision {precision}"


def _of_numbers(results: dict[str, Any], k: str) -> str:
    errors = (
        f"{name} RMSE {rmse:.4g} (the mean: {results['rmse_of_mean'][name]:.4g}), MAE {results['mae'][k][name]:.4g}, "
        f"R^2 {_four(results['r2'][k][name])}"
        for name, rmse in results["rmse"][k].items()
    )
    return listed(errors, 3)


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
