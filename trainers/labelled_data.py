"""Images with labels, to train and to test on."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from keras_mae.data import Source, Subset
from keras_mae.data.balance import balanced_indices, class_weights
from keras_mae.data.source import CLASSES, LABELS
from keras_mae.registry import listed
from keras_mae.trainers.classifier_config import ClassifierConfig
from keras_mae.trainers.evaluation import few_labels
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.label_choice import open_labelled

_log = logging.getLogger("keras_mae")
_NAMED = 5  # classes in a message


@dataclasses.dataclass(frozen=True)
class LabelledSources:
    """Images with labels.

    Attributes:
        train: the images to train on.
        validation: the images to test on.
        task: what the labels are: `"classes"`, `"labels"` or `"numbers"`, see `Source`.
        num_outputs: the number of classes, of labels, or of numbers of an image.
        names: of the classes, empty if they have none, or of the columns of labels or numbers.
    """

    train: Source
    validation: Source
    task: str
    num_outputs: int
    names: list[str]

    @property
    def num_classes(self) -> int:
        """The number of classes; raises ValueError if the labels are no classes."""
        return self.num_outputs if self.task == CLASSES else self.train.num_classes


def read_alike(train: Source, validation: Source) -> None:
    """Reads image files to test on in the depth of those to train on, and says so if theirs is another."""
    if validation.encoded and validation.dtype != train.dtype:
        _log.warning(
            "the images to test on are %s, and those to train on are %s: both are read as %s, as an exported model "
            "reads them", validation.dtype, train.dtype, train.dtype,
        )  # fmt: skip
        validation.dtype = train.dtype


def labelled_sources(config: ClassifierConfig | KnnConfig, data: str) -> LabelledSources:
    """The images to train on and those to test on.

    Classes without images are logged, in one line for each of the two.

    Args:
        config: its settings of validation data, labels and classes apply.
        data: a data specification, see `keras_mae.data.open_source`.

    Raises:
        ValueError: if labels are missing or out of range, a class has too few images, all images to train on are of
            one class, or the two sets of images number their classes differently.
    """
    train, validation = open_labelled(config.data, data, config.data.decoding())
    if config.data.validation_data is not None:
        _check_same_classes(train, validation)
    read_alike(train, validation)
    if train.task != CLASSES:
        _look_at_columns(train, validation)
        return LabelledSources(train, validation, train.task, len(train.label_names), list(train.label_names))
    num_classes = train.num_classes if config.data.num_classes is None else config.data.num_classes
    for source in (train, validation):
        check_labels(source, num_classes)
    if config.data.labels_per_class is not None:
        train = Subset(train, few_labels(train.required_labels(), config.data.labels_per_class, config.run.seed))
    _look_at_classes(train, validation, num_classes)
    balance = getattr(config.data, "balance", None)
    if balance == "weights":
        train.class_weights = class_weights(train.required_labels(), num_classes)
    elif balance == "sampling":
        train = _with_repeats(train, config.run.seed)
    return LabelledSources(train, validation, CLASSES, num_classes, list(train.class_names))


def check_channels(source: Source, channels: int, settable: bool = False) -> None:
    """Refuses images of another number of channels than the model's, before a graph does.

    Args:
        source: the images; files are decoded to any number.
        channels: of the model's images.
        settable: whether `--set channels=...` gives the model another number.
    """
    theirs = channels if source.image_shape is None else source.image_shape[-1]
    if theirs != channels:
        remedy = f"type --set channels={theirs}" if settable else f"give images with {channels}"
        raise ValueError(
            f"the images have {theirs} {'channel' if theirs == 1 else 'channels'}, and the model takes {channels}: "
            f"{remedy}"
        )


def check_labels(source: Source, num_classes: int) -> None:
    """Refuses a source without labels, or with labels outside of `num_classes` classes."""
    labels = source.required_labels()
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        raise ValueError(
            f"labels of {num_classes} classes are numbers from 0 to {num_classes - 1}; {len(outside)} of {len(labels)} "
            f"are not, such as {labels[outside[0]]} of {source.name_of(int(outside[0]))}"
        )


def _check_same_classes(train: Source, validation: Source) -> None:
    """Refuses other class names: folders number classes by name, so a missing one would shift all after it."""
    one, other = train.class_names, validation.class_names
    if one and other and one != other:
        only = [
            f"only {where}: {', '.join(sorted(set(a) - set(b)))}"
            for where, a, b in (("to train on", one, other), ("to test on", other, one))
            if set(a) - set(b)
        ]
        raise ValueError(
            f"the images to train on and those to test on have other classes ({'; '.join(only)}), and so number them "
            "differently; give both the same folders"
        )


def _look_at_classes(train: Source, validation: Source, num_classes: int) -> None:
    """Logs the classes without images to train or test on; refuses a single class to train on."""
    trained, tested = (np.unique(source.required_labels()) for source in (train, validation))
    if len(trained) < 2:
        raise ValueError(
            f"all {train.num_images} images to train on are of one class, {_name(train, trained[0])}, and a classifier "
            "tells at least two apart; give images of another one too"
        )
    for found, purpose in ((trained, "train"), (tested, "test")):
        lacking = np.setdiff1d(np.arange(num_classes), found)
        if len(lacking):
            names = ", ".join(_name(train, label) for label in lacking[:_NAMED])
            more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
            _log.warning(
                "%d of %d classes have no image to %s on: %s%s", len(lacking), num_classes, purpose, names, more
            )
    if len(tested) == 1:
        _log.warning(
            "all %d images to test on are of one class, %s: accuracies on them say nothing about the others",
            validation.num_images,
            _name(train, tested[0]),
        )


def _with_repeats(train: Source, seed: int) -> Source:
    """As many images of every class: those of rare ones are repeated."""
    repeated = Subset(train, balanced_indices(train.required_labels(), seed))
    _log.info("balance=sampling: an epoch has %d images, of %d that are there", repeated.num_images, train.num_images)
    return repeated


def _look_at_columns(train: Source, validation: Source) -> None:
    """Logs labels that all images have, or none; refuses numbers that are the same for all images to train on."""
    for source, purpose in ((train, "train"), (validation, "test")):
        rows = source.required_labels()
        same = [name for name, column in zip(source.label_names, rows.T) if (column == column[0]).all()]
        if not same:
            continue
        if train.task == LABELS:
            _log.warning(
                "%d of %d labels are the same for all %d images to %s on: %s",
                len(same), len(source.label_names), len(rows), purpose, listed(same),
            )  # fmt: skip
        elif purpose == "train":
            value = rows[0, source.label_names.index(same[0])]
            raise ValueError(
                f"all {len(rows)} images to train on have {same[0]}={value:g}, and nothing can be learnt from that: "
                "leave this column out of --label_columns"
            )


def _name(source: Source, label: int) -> str:
    return source.class_names[label] if label < len(source.class_names) else str(label)
