"""Checks of the settings of labels and of the split against each other."""

from __future__ import annotations

import os
from typing import Any

from keras_mae.trainers.label_names import names_in_setting

ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq")
_OF_CLASSES = ("num_classes", "labels_per_class", "balance")
_SPLITS = ("validation_share", "folds", "split_column")


def check_labels(settings: dict[str, Any]) -> None:
    """Checks the settings of labels, if there are any; raises ValueError with what to type instead."""
    if "data.task" not in settings:
        return
    own = {name.partition(".")[2]: value for name, value in settings.items() if name.startswith("data.")}
    _check_task(own)
    for setting in ("labels", "validation_labels"):
        path = own[setting]
        if path is not None and not path.lower().endswith(ENDINGS):
            raise ValueError(f"{setting} is a CSV or Parquet file ({', '.join(ENDINGS)}), got {path}")
        if path is not None and "://" not in path and not os.path.isfile(path):
            raise ValueError(f"--{setting}={path}: there is no such file")
    for setting in ("image_column", "validation_labels"):
        if own[setting] is not None and own["labels"] is None:
            raise ValueError(f"{setting} is for a table of labels, which is not given: name it with --labels")
    _check_split(own)


def _check_task(own: dict[str, Any]) -> None:
    task, columns = own["task"], names_in_setting(own["label_columns"])
    given = [name for name in _OF_CLASSES if own.get(name) is not None]
    if task != "classes" and given:
        raise ValueError(f"{given[0]} is for task=classes, and the task is {task}: leave it out")
    if task == "classes" and len(columns) > 1:
        raise ValueError(
            f"task=classes has one column of labels, got {', '.join(columns)}: name one, or type --set task=labels for "
            "several labels of 0 and 1, --set task=numbers for numbers"
        )
    for name in columns:
        if columns.count(name) > 1 or name in (own["split_column"], own["group_column"], own["image_column"]):
            raise ValueError(f"column {name!r} is named twice: a column of labels is nothing else")


def _check_split(own: dict[str, Any]) -> None:
    given = [name for name in _SPLITS if own[name] is not None]
    if len(given) > 1:
        raise ValueError(f"{given[0]} and {given[1]} both choose the images to test on: give one of them")
    further = given + ["group_column"] * (own["group_column"] is not None) + ["split_seed"] * (own["split_seed"] != 0)
    if own["validation_data"] is not None and further:
        raise ValueError(
            f"{further[0]} chooses images to test on from --data, and validation_data names others: give one of them"
        )
    if own["fold"] and own["folds"] is None or own["folds"] is not None and own["fold"] >= own["folds"]:
        remedy = "name how many there are, --set folds=5" if own["folds"] is None else f"there are {own['folds']}"
        raise ValueError(f"fold is one of folds, counted from 0, got fold={own['fold']}: {remedy}")
    if own["validation_values"] is not None and own["split_column"] is None:
        raise ValueError("validation_values are values of a column: name it with --set split_column=...")
    if own["split_column"] is not None and own["split_seed"]:
        raise ValueError(
            "split_seed is of a choice by chance, and split_column chooses the images to test on: give one of them"
        )
