"""The images that are evaluated while pretraining: a fixed subset, with labels or without."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_mae.data import Source, Subset, open_source
from keras_mae.data.seen import labels_are_known
from keras_mae.data.source import CLASSES
from keras_mae.data.sources import kind_of
from keras_mae.data.splits import split_source
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.labelled_data import LabelledSources, check_channels, labelled_sources
from keras_mae.trainers.trained_model import read_as_trained

LABELLED, UNLABELLED = 2000, 1000  # images by default
_TESTED = 0.25
_OF_A_CLASS = 20  # images, about, so that kNN has neighbours; of more classes, some are chosen
_LEAST = 4  # images of a class, of which one is tested on


def some(source: Source, count: int) -> Source:
    """A fixed random subset in the source's order; the source itself if it has no more images."""
    if count >= source.num_images:
        return source
    return Subset(source, np.sort(np.random.RandomState(0).permutation(source.num_images)[:count]))


def labelled_subset(config: PretrainConfig, data: str, source: Source) -> LabelledSources | None:
    """The labelled images to evaluate on: those that the settings name, or the data's own if they are classes.

    Three quarters are neighbours, or trained on, and a quarter is tested on; or less if the data's own validation split
    is smaller. Of classes with fewer than some 20 images each, as many are chosen as have 20.

    Args:
        config: of the run.
        data: its data specification.
        source: its images.

    Returns:
        None if no labels are asked for, and the data's own are not there, are no classes to tell apart, or cannot be
        known without reading every record.

    Raises:
        ValueError: for labels that are asked for and missing or wrong, or images that the model cannot take.
    """
    own = config.evaluation
    labelled = _named(config, data) if own.asks_for_labels else _own(config, data, source)
    if labelled is None:
        return None
    read_as_trained(source.dtype, "the run", labelled.train, labelled.validation)
    for each in (labelled.train, labelled.validation):
        check_channels(each, config.encoder.image_shape[-1])
    count = own.evaluation_images or LABELLED
    train, validation = labelled.train, labelled.validation
    if labelled.task == CLASSES:
        train, validation = _of_some_classes(train, validation, max(2, count // _OF_A_CLASS))
    validation = some(validation, max(1, round(_TESTED * count)))
    return dataclasses.replace(labelled, train=some(train, count - validation.num_images), validation=validation)


def _named(config: PretrainConfig, data: str) -> LabelledSources:
    own = config.evaluation
    named = own.labelled_data or data
    kind_of(named, "--labelled_data" if own.labelled_data else "--data")
    apart = open_source(named, decoding=config.data.decoding()).validation_apart
    return labelled_sources(own.of_labels(config.data, None if apart else _TESTED), named)


def _own(config: PretrainConfig, data: str, source: Source) -> LabelledSources | None:
    if not _tells_classes_apart(source):
        return None
    if source.validation_apart:
        train, validation = source, open_source(data, "validation", config.data.decoding())
        known = validation.labelled and labels_are_known(validation) and validation.class_names == source.class_names
        if not known or not _are_within(validation, source.num_classes):
            return None
    else:
        train, validation = (split_source(source, part, _TESTED) for part in ("train", "validation"))
    return LabelledSources(train, validation, CLASSES, source.num_classes, list(source.class_names))


def _tells_classes_apart(source: Source) -> bool:
    """Whether most images are of classes that have some images each, and that are at least two."""
    if not source.labelled or source.task != CLASSES or not labels_are_known(source):
        return False
    labels = source.required_labels()
    if labels.min() < 0:
        return False
    numbers = np.unique(labels, return_counts=True)[1]
    large = numbers[numbers >= _LEAST]
    return len(large) > 1 and 2 * large.sum() > len(labels)


def _are_within(source: Source, num_classes: int) -> bool:
    labels = source.required_labels()
    return bool(labels.min() >= 0 and labels.max() < num_classes)


def _of_some_classes(train: Source, validation: Source, most: int) -> tuple[Source, Source]:
    """The images of at most so many classes, chosen at random, always the same."""
    there = np.unique(train.required_labels())
    if len(there) <= most:
        return train, validation
    chosen = np.random.RandomState(0).permutation(there)[:most]
    parts = (np.flatnonzero(np.isin(each.required_labels(), chosen)) for each in (train, validation))
    train_at, validation_at = parts
    if not len(validation_at):  # such as a validation split of few images
        return train, validation
    return Subset(train, train_at), Subset(validation, validation_at)
