"""Labels from tables, features and arrays, and the split into images to train on and images to test on."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from keras_mae.data import Decoding, Source, Subset, open_source
from keras_mae.data.columns import Column, labels_of
from keras_mae.data.label_table import LabelTable
from keras_mae.data.relabelled import Relabelled
from keras_mae.data.source import CLASSES
from keras_mae.data.sources import kind_of
from keras_mae.data.splits import SHARE, fold_numbers, split_by_values, split_source
from keras_mae.registry import listed
from keras_mae.trainers.label_names import names_in_setting
from keras_mae.trainers.training_parts import Labels, Split

_log = logging.getLogger("keras_mae")
_USUAL = ("labels", "label")  # names of labels that lie beside images


def open_labelled(own: Labels, data: str, decoding: Decoding) -> tuple[Source, Source]:
    """Opens the images to train on and those to test on, with the labels that the settings name.

    Args:
        own: the settings of labels and of the split.
        data: a data specification, see `keras_mae.data.open_source`.
        decoding: how image files are decoded.

    Raises:
        ValueError: if a table or a column is missing or damaged, does not fit the images or the task, or the images
            cannot be split so.
    """
    if own.validation_data is not None:
        kind_of(own.validation_data, "--validation_data")
    as_they_are = Labels(own.validation_data, num_classes=own.num_classes, labels_per_class=own.labels_per_class)
    if all(getattr(own, field.name) == getattr(as_they_are, field.name) for field in dataclasses.fields(Labels)):
        if own.validation_data is None:
            return open_source(data, "train", decoding), open_source(data, "validation", decoding)
        return open_source(data, decoding=decoding), open_source(own.validation_data, decoding=decoding)
    source = open_source(data, decoding=decoding)
    other = None if own.validation_data is None else open_source(own.validation_data, decoding=decoding)
    if other is None and source.validation_apart:
        other = open_source(data, "validation", decoding)
    table = None if own.labels is None else LabelTable(own.labels, own.image_column)
    labelled = _Labelled(source, table, own)
    if other is None:
        return _split(labelled, own)
    given = [name for name in ("validation_share", "folds", "split_column", "group_column") if getattr(own, name)]
    if given or own.split_seed:
        raise ValueError(
            f"{(given or ['split_seed'])[0]} chooses images to test on, and {data} has such of its own: leave it out"
        )
    table = table if own.validation_labels is None else LabelTable(own.validation_labels, own.image_column)
    tested = _Labelled(other, table, own, labelled.source.class_names)
    if own.labels is not None and own.validation_labels is None:
        _check_apart(labelled, tested, own.labels)
    return labelled.source, tested.source


class _Labelled:
    """Images with the labels that the settings name, and further columns of the same rows.

    Attributes:
        source: the images that have labels.
        rows: of the table, one for each image: int64 `(n,)`.
        columns: those that the settings name, by their names, with a value for each image of `source`.
    """

    def __init__(self, source: Source, table: LabelTable | None, own: Labels, class_names: Sequence[str] = ()) -> None:
        self._own, self._table, self._all = own, table, source
        rows = np.arange(source.num_images) if table is None else table.rows_of(source)
        kept = np.flatnonzero(rows >= 0)
        self.rows = rows[kept]
        self.source = source
        names = self._label_columns()
        # of records all at once, as each time reads every record
        further = [name for name in (own.split_column, own.group_column) if name is not None]
        self.columns = dict(zip([*names, *further], self._read([*names, *further])))
        if names:
            columns = [self.columns[name] for name in names]
            if own.task == CLASSES and not class_names:  # of a table, also those of images that are not here
                class_names = (columns[0] if table is None else table.column(names[0])).names()
            labels = labels_of(columns, own.task, class_names)
            self.source = (
                Relabelled(source, kept, labels, class_names=class_names)
                if own.task == CLASSES
                else Relabelled(source, kept, labels, own.task, label_names=names)
            )

    def _read(self, names: Sequence[str]) -> list[Column]:
        if self._table is None:
            return self._all.columns(names)
        return [self._table.column(name)[self.rows] for name in names]

    def _label_columns(self) -> list[str]:
        """The names of the columns of the labels; none if the labels are those that the images have."""
        own, given = self._own, names_in_setting(self._own.label_columns)
        there = self._all.column_names if self._table is None else self._table.column_names
        if not given and self._table is not None:
            given = [name for name in there if name not in (own.split_column, own.group_column)]
            if own.task == CLASSES and len(given) != 1:
                raise ValueError(
                    f"{self._table.path}: name the column of the classes, --label_columns=...; there are: "
                    f"{listed(given) or 'none'}; for several at once type --set task=labels or task=numbers"
                )
        elif not given and own.task != CLASSES:
            given = next(([name] for name in _USUAL if expanded(name, there)), [])
            if not given:
                raise ValueError(
                    f"task={own.task} needs columns of labels: give a table with --labels, or name features or arrays "
                    f"of the data with --label_columns; there are: {listed(there) or 'none'}"
                )
        if self._table is not None and self._table.image_column in given:
            raise ValueError(
                f"{self._table.path}: column {self._table.image_column!r} has the images' names, and no labels: name "
                "another one with --label_columns, or the column of the names with --set image_column=..."
            )
        names = [name for one in given for name in expanded(one, there) or [one]]
        if own.task == CLASSES and len(names) > 1:
            raise ValueError(f"task=classes has one column of labels, got {listed(names)}: type --set task=labels")
        return names


def expanded(name: str, there: Sequence[str]) -> list[str]:
    """A name, or of an array with several columns their names, `name[0]`, `name[1]`, ..."""
    return [name] if name in there else [one for one in there if one.startswith(f"{name}[") and one.endswith("]")]


def _split(labelled: _Labelled, own: Split) -> tuple[Source, Source]:
    source, groups, members = labelled.source, None, list[str]()
    if own.group_column is not None:
        members = labelled.columns[own.group_column].texts()
        groups = np.unique(members, return_inverse=True)[1]
    if own.split_column is not None:
        values = names_in_setting(own.validation_values) or None
        texts = labelled.columns[own.split_column].texts()
        trained, tested = split_by_values(texts, values, own.split_column)
        both = {members[index] for index in trained} & {members[index] for index in tested} if members else set()
        if both:
            raise ValueError(
                f"column {own.split_column!r} parts {len(both)} groups, such as {own.group_column}={min(both)}: their "
                "images are to train on and to test on; leave group_column out, or correct the column"
            )
        if len(trained) + len(tested) < source.num_images:
            neither = source.num_images - len(trained) - len(tested)
            _log.warning("%d of %d images are left out by column %r", neither, source.num_images, own.split_column)
        return Subset(source, trained), Subset(source, tested)
    if own.folds is not None:
        numbers = fold_numbers(source, own.folds, own.split_seed, groups)
        return Subset(source, np.flatnonzero(numbers != own.fold)), Subset(source, np.flatnonzero(numbers == own.fold))
    share = own.validation_share or SHARE
    return tuple(split_source(source, part, share, own.split_seed, groups) for part in ("train", "validation"))  # type: ignore[return-value]


def _check_apart(one: _Labelled, other: _Labelled, table: str) -> None:
    """Refuses a row that names an image to train on and another one to test on."""
    rows, first, second = np.intersect1d(one.rows, other.rows, return_indices=True)
    for row, train, test in zip(rows.tolist(), first.tolist(), second.tolist()):
        images = [_whole_name(each.source, index) for each, index in ((one, train), (other, test))]
        if images[0] != images[1]:
            raise ValueError(
                f"{table}: the row of image {images[0]} to train on is that of image {images[1]} to test on, too: "
                "write more of the paths into the table, such as train/1.png, or name a table for the latter with "
                "--set validation_labels=..."
            )


def _whole_name(source: Source, index: int) -> str:
    root, names = Subset(source, np.array([index])).file_names()
    return f"{root}/{names[0]}" if root else source.name_of(index)
