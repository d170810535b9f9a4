"""Images with masks, to train and to test on."""

from __future__ import annotations

import dataclasses
import logging
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_mae.data import Masks, Source, open_source
from keras_mae.data.samples import why_no_pair
from keras_mae.data.segmentation import count_classes
from keras_mae.data.sources import kind_of
from keras_mae.trainers.labelled_data import read_alike
from keras_mae.trainers.segment_config import SegmentConfig, SegmentData

_log = logging.getLogger("keras_mae")
_USUAL = 255  # of a pixel without label
_NAMED = 5  # classes in a message
_TOGETHER = 64  # masks in memory that are looked at together


class MaskedSources(NamedTuple):
    """Images with masks.

    Attributes:
        training, validation: the images to train and to test on.
        class_names: of all classes, in order; their numbers if they have no names.
    """

    training: Source
    validation: Source
    class_names: list[str]


def masked_sources(config: SegmentConfig, data: str) -> MaskedSources:
    """The images to train on and those to test on.

    Without `num_classes` and `class_names` there are as many classes as the masks to train on show: those of all
    images, or of 1,000. A mask with a number beyond the classes counts as corrupt.

    Args:
        config: its settings of validation data, masks and classes apply.
        data: a data specification, see `keras_mae.data.open_source`.

    Raises:
        ValueError: if masks are missing or cannot be used, or have fewer than two classes; for names that do not fit.
    """
    own, decoding = config.data, config.data.decoding()
    if own.ignore_index == _USUAL and (own.num_classes or 0) > _USUAL:
        raise ValueError(
            f"ignore_index={own.ignore_index} is the number of one of the {own.num_classes} classes, too: type --set "
            "ignore_index=None, or the number of pixels without label, such as --set ignore_index=65535"
        )
    if own.validation_data is None:
        train, validation = (open_source(data, split, decoding) for split in ("train", "validation"))
    else:
        kind_of(own.validation_data, "--validation_data")
        train, validation = (open_source(one, decoding=decoding) for one in (data, own.validation_data))
    read_alike(train, validation)
    names = read_class_names(own)
    num_classes = len(names) if names else own.num_classes
    _set_masks(dataclasses.replace(own.masks(), num_classes=num_classes), train, validation)
    counts, read = _counted(train, num_classes)
    num_classes = num_classes or len(counts)
    names = names or [str(number) for number in range(num_classes)]
    _look_at_classes(names, counts, read, own)
    _set_masks(dataclasses.replace(own.masks(), num_classes=num_classes), train, validation)
    _, tested, seen, _ = count_classes(validation)
    if not tested.any():
        raise ValueError(f"none of {seen} masks to test on has a labelled pixel: give others with --validation_data")
    train.class_names = validation.class_names = names
    return MaskedSources(train, validation, names)


def read_class_names(data: SegmentData) -> list[str]:
    """The names in the file `class_names`; empty without one.

    Raises:
        ValueError: if there is no such file, it holds fewer than two names or one twice, or another number of them than
            `num_classes`.
    """
    if data.class_names is None:
        return []
    try:
        text = tf.io.read_file(data.class_names).numpy().decode("utf-8-sig")
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise ValueError(f"class_names={data.class_names} is no text file ({type(error).__name__})") from error
    names = [line.strip() for line in text.strip().splitlines()]
    if "" in names:
        raise ValueError(f"{data.class_names}, line {names.index('') + 1}, is empty: each line names a class, in order")
    twice = [name for name in names if names.count(name) > 1]
    if len(names) < 2 or twice:
        got = f"{twice[0]!r} twice" if twice else f"{len(names)} names"
        raise ValueError(f"{data.class_names} has a name for each class, each on a line of its own; got {got}")
    if data.num_classes not in (None, len(names)):
        raise ValueError(f"{data.class_names} has {len(names)} names, and num_classes is {data.num_classes}: drop one")
    return names


def _set_masks(masks: Masks, *sources: Source) -> None:
    """Says what numbers in masks mean; refuses arrays with others, as no image in memory is skipped."""
    for source in sources:
        source.require_masks()
        source.masks = masks
        for begin in range(0, 0 if source.encoded else source.num_images, _TOGETHER):
            indices = tf.range(begin, min(begin + _TOGETHER, source.num_images), dtype=tf.int64)
            try:
                source.mask(source.read(indices)["mask"])
            except tf.errors.InvalidArgumentError:
                reasons = (why_no_pair(source, index, source.name_of(index)) for index in indices.numpy().tolist())
                raise ValueError(next(filter(None, reasons))) from None


def _counted(train: Source, num_classes: int | None) -> tuple[np.ndarray, int]:
    """The pixels of each class in the masks, int64, as far as they are counted; and how many masks were read."""
    largest, counts, read, unlabelled = count_classes(train)
    if unlabelled:
        _log.info("%.1f %% of the pixels of %d masks have no label, and do not count", 100 * unlabelled, read)
    if num_classes is None and largest >= len(counts):
        raise ValueError(
            f"the masks hold numbers up to {largest}, so there would be {largest + 1} classes: if that is right, type "
            f"--set num_classes={largest + 1}{_unlabelled(largest)}; if a number stands for no label, --set "
            "ignore_index=..."
        )
    return counts[: num_classes or largest + 1], read


def _unlabelled(largest: int) -> str:
    return " --set ignore_index=None" if largest >= _USUAL else ""


def _look_at_classes(names: list[str], counts: np.ndarray, read: int, data: SegmentData) -> None:
    """Logs the classes without a pixel; refuses a single class to train on."""
    found = np.flatnonzero(counts)
    if len(found) < 2 and len(counts) == len(names):
        ignored = "" if data.ignore_index is None else f" (and {data.ignore_index}, which is ignored)"
        raise ValueError(
            f"{read} masks to train on show one class, {names[found[0]]}{ignored}, and a segmenter tells at least two "
            "apart; if the masks are black and white, with 255 for one of the two, write 1 in place of 255, or give "
            "--set ignore_index=None --set num_classes=256"
        )
    lacking = np.setdiff1d(np.arange(len(counts)), found)
    if len(lacking):
        shown = ", ".join(names[label] for label in lacking[:_NAMED])
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        _log.warning("%d of %d classes have no pixel in %d masks: %s%s", len(lacking), len(names), read, shown, more)
