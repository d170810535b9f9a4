"""The images of predictions, with the labels that the run was trained on, or others like them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_mae.data import Source, open_source
from keras_mae.data.columns import labels_of
from keras_mae.data.label_table import LabelTable
from keras_mae.data.relabelled import Relabelled
from keras_mae.data.source import CLASSES, NO_LABEL
from keras_mae.data.sources import absolute_path
from keras_mae.registry import listed
from keras_mae.trainers.label_choice import expanded, open_labelled
from keras_mae.trainers.label_names import names_in_setting
from keras_mae.trainers.trained_model import TrainedModel
from keras_mae.trainers.training_parts import Labels


def open_predicted(
    trained: TrainedModel,
    task: str,
    data: str,
    split: str | None = None,
    labels: str | None = None,
    label_columns: str | None = None,
) -> Source:
    """Opens images, and the labels that are known of them.

    A split of the run's own data is the run's split, whatever its settings chose. Labels are those that `labels` and
    `label_columns` name; without these, columns beside the images that are called as the run's; without such, those
    that the images have. An image without a row in the table has no label.

    Args:
        trained: the model, and what its run says of it.
        task: of the model, see `Source`.
        data: a data specification, see `keras_mae.data.open_source`.
        split: `"train"`, `"validation"` or None.
        labels: a table of labels; by default the run's, if these are its images.
        label_columns: names of columns, separated by commas; by default the run's.

    Raises:
        ValueError: if images, table or columns are missing, or do not fit together.
    """
    found = getattr(trained.config, "data", None)
    own, same = _at_home(found if isinstance(found, Labels) else Labels(), trained.directory), trained.has_seen(data)
    given = labels is not None or label_columns is not None
    if same and split is not None and own.validation_data is None and not given:
        return open_labelled(own, data, trained.decoding)[split == "validation"]
    source = open_source(data, split, trained.decoding)
    image_column = None
    if same and labels is None:
        labels, image_column = own.labels, own.image_column
    table = None if labels is None else LabelTable(labels, image_column)
    there = source.column_names if table is None else table.column_names
    names = [name for one in names_in_setting(label_columns) for name in expanded(one, there) or [one]]
    if not names:
        names = list(trained.seen.get("label_names") or names_in_setting(own.label_columns))
        if table is None and not set(names) <= set(there):
            return source
        if table is not None and not names:
            names = [name for name in there if name not in (own.split_column, own.group_column)]
    if not names:
        return source
    if task == CLASSES and len(names) > 1:
        raise ValueError(f"classes are in one column, and there are {listed(names)}: name it with --label_columns")
    return _with_labels(source, table, names, task)


def _at_home(own: Labels, directory: str) -> Labels:
    """The settings with absolute paths of their tables."""
    labels, tested = (path and absolute_path(path, directory) for path in (own.labels, own.validation_labels))
    return dataclasses.replace(own, labels=labels, validation_labels=tested)


def _with_labels(source: Source, table: LabelTable | None, names: Sequence[str], task: str) -> Relabelled:
    """All images of a source with the labels of some columns; an image without a row has none."""
    kept = np.arange(source.num_images)
    if table is None:
        columns = source.columns(names)
    else:
        rows = table.rows_of(source)
        kept = np.flatnonzero(rows >= 0)
        columns = [table.column(name)[rows[kept]] for name in names]
    class_names = columns[0].names() if task == CLASSES else []
    known = labels_of(columns, task, class_names)
    labels = np.full((source.num_images, *known.shape[1:]), NO_LABEL if task == CLASSES else np.nan, known.dtype)
    labels[kept] = known
    every = np.arange(source.num_images)
    return Relabelled(source, every, labels, task, class_names, [] if task == CLASSES else names)
