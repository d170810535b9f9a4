"""Linear probing: a linear layer on frozen features."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.data import Augmentation, Source, TrainingData
from keras_mae.models import ImageClassifier
from keras_mae.one_writer import released
from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.classifier_run import ClassifierData, train_classifier, with_validation
from keras_mae.trainers.encoder_choice import choose_encoder
from keras_mae.trainers.features import ENCODED, features_of

_log = logging.getLogger("keras_mae")


def build(config: ProbeConfig, num_classes: int) -> ImageClassifier:
    """The probe of a config, before training: a frozen encoder, BatchNorm without affine parameters, a linear layer."""
    return _begin(config, num_classes)[0]


def _begin(config: ProbeConfig, num_classes: int) -> tuple[ImageClassifier, dict[str, Any] | None]:
    """The probe, and what `config.json` says of its first weights."""
    keras.utils.set_random_seed(config.run.seed)
    encoder, init = choose_encoder(config)
    probe = ImageClassifier(
        encoder,
        num_classes,
        config.head.pooling,
        num_trainable_layers=0,
        seed=config.run.seed,
        layer=config.head.layer,
        dtype=config.run.dtype_policy,
    )
    return probe, init


@released()
def linear_probe(
    config: ProbeConfig,
    data: str,
    output: str,
    resume: bool = False,
    overwrite: bool = False,
    strategy: str = "auto",
    tpu: str = "local",
) -> dict[str, Any]:
    """Trains a linear classifier on a frozen encoder, and fills a run folder.

    Without random crop and flip, an image's features are the same in every epoch: they are computed once.

    Args:
        config: of the run.
        data, output, resume, overwrite, strategy, tpu: as for `finetune`.

    Returns:
        As `finetune`.

    Raises:
        ValueError, OSError, Preempted: as `finetune`.
    """
    return train_classifier(_begin, prepared, config, data, output, resume, overwrite, strategy, tpu)


def prepared(probe: ImageClassifier, config: ProbeConfig, source: Source, validation: Source) -> ClassifierData:
    """The data of a probe: images, or without random crop and flip their features, computed once."""
    if config.data.is_fixed:
        return _of_features(probe, config, source, validation)
    training = TrainingData(
        source,
        probe.encoder.image_shape,
        config.optimizer.batch_size,
        config.run.seed,
        config.data.build(),
        with_labels=True,
    )
    return with_validation(training, validation, config.data.crop_ratio, ENCODED)


def _of_features(probe: ImageClassifier, config: ProbeConfig, source: Source, validation: Source) -> ClassifierData:
    _log.info("features of %d and %d images, once", source.num_images, validation.num_images)
    train, test = (
        features_of(probe.encoder, each, config.head.pooling, config.data.crop_ratio, ENCODED, config.head.layer)
        for each in (source, validation)
    )
    tested = tf.data.Dataset.from_tensor_slices(test).batch(4 * ENCODED)
    return ClassifierData(feature_data(*train, config.optimizer.batch_size, config.run.seed), tested, test[1])


def feature_data(features: np.ndarray, labels: np.ndarray, batch_size: int, seed: int) -> TrainingData:
    """Features `(N, D)` and labels `(N,)` to train on, in batches `(batch_size, D)` and `(batch_size,)`."""
    unchanged = Augmentation(crop_scale=None, flip=False, crop_ratio=1.0)
    return TrainingData(_Features(features, labels), features.shape[1:], batch_size, seed, unchanged, with_labels=True)


class _Features(Source):
    """Features in memory, and their labels, in place of images."""

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self.num_images, self.image_shape, self._labels = len(features), features.shape[1:], labels
        self.dtype = features.dtype.name
        with tf.init_scope():  # held once, by reference: a constant in a graph may not exceed 2 GB
            self._table = tf.constant(features)

    def read(self, index) -> dict[str, tf.Tensor]:
        return {"image": tf.gather(self._table, index), "label": self.label_at(index)}

    def name_of(self, index: int) -> str:
        return f"features[{index}]"
