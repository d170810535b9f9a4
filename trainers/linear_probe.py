"""Linear probing: a linear layer on frozen features, or on what learned queries pool of frozen tokens."""

from __future__ import annotations

import logging
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.data import Augmentation, Source, TrainingData
from keras_mae.encoders.pooling import patch_tokens
from keras_mae.models import ImageHead
from keras_mae.models.pooled_head import PooledHead
from keras_mae.one_writer import released
from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.classifier_run import ClassifierData, train_head, with_validation
from keras_mae.trainers.dtype_choice import with_dtype
from keras_mae.trainers.encoder_choice import choose_encoder
from keras_mae.trainers.features import ENCODED, features_of
from keras_mae.trainers.free_memory import memory_of_processor
from keras_mae.trainers.memory import as_text
from keras_mae.trainers.strategy import any_worker
from keras_mae.trainers.tasks import Classes, Task, class_names

_log = logging.getLogger("keras_mae")
_COPIES = 3  # of all tokens: batch by batch, in one array, in one tensor


def build(config: ProbeConfig, num_classes: int) -> ImageHead:
    """The probe of a config for classes, before training.

    It is a frozen encoder, BatchNorm without affine parameters, and a linear layer. Attentive pooling comes before the
    BatchNorm.
    """
    return _begin(config, Classes(class_names([], num_classes)))[0]


def _begin(config: ProbeConfig, task: Task) -> tuple[ImageHead, dict[str, Any] | None]:
    """The probe, and what `config.json` says of its first weights."""
    config = with_dtype(config)
    keras.utils.set_random_seed(config.run.seed)
    encoder, init = choose_encoder(config)
    probe = task.head(
        encoder,
        0.0,
        pooling=config.head.pooling,
        num_trainable_layers=0,
        seed=config.run.seed,
        layer=config.head.layer,
        num_queries=config.head.num_queries,
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
    """Trains a linear layer on a frozen encoder, and fills a run folder.

    Without random crop and flip, an image's features are the same in every epoch: they are computed once. Features of
    attentive pooling are all patch tokens of an image: if those of all images do not fit into memory, the frozen
    encoder runs on every batch; the log says which.

    Args:
        config: of the run.
        data, output, resume, overwrite, strategy, tpu: as for `finetune`.

    Returns:
        As `finetune`.

    Raises:
        ValueError, OSError, Preempted: as `finetune`.
    """
    return train_head(_begin, prepared, config, data, output, resume, overwrite, strategy, tpu)


def prepared(probe: PooledHead, config: ProbeConfig, source: Source, validation: Source) -> ClassifierData:
    """The data of a probe: images, or without random crop and flip their features, computed once."""
    if config.data.is_fixed and _fit(probe, source.num_images + validation.num_images):
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


def _fit(probe: PooledHead, num_images: int) -> bool:
    """Whether the features of all images fit into the memory of every worker; vectors always do."""
    if probe.attentive is None:
        return True
    memory, tokens = memory_of_processor(), 4 * num_images * math.prod(probe.example_shapes()[-1])
    small = memory is None or _COPIES * tokens <= memory.free
    if memory is not None and not small:
        told = (num_images, as_text(tokens), memory.place, as_text(memory.free))
        _log.info("the patch tokens of %d images are %s, and %s has %s free: the encoder runs on every batch", *told)
    return not any_worker(probe.distribute_strategy, [not small])[0]


def _of_features(probe: PooledHead, config: ProbeConfig, source: Source, validation: Source) -> ClassifierData:
    kind = "features" if probe.attentive is None else "patch tokens"
    pooling: Any = config.head.pooling if probe.attentive is None else patch_tokens
    _log.info("%s of %d and %d images, once", kind, source.num_images, validation.num_images)
    train, test = (
        features_of(probe.encoder, each, pooling, config.data.crop_ratio, ENCODED, config.head.layer)
        for each in (source, validation)
    )
    tested = tf.data.Dataset.from_tensor_slices(test).batch(ENCODED if test[0].ndim > 2 else 4 * ENCODED)
    training = feature_data(*train, config.optimizer.batch_size, config.run.seed, source.class_weights)
    return ClassifierData(training, tested, test[1])


def feature_data(
    features: np.ndarray, labels: np.ndarray, batch_size: int, seed: int, class_weights: np.ndarray | None = None
) -> TrainingData:
    """Features `(N, D)` or `(N, L, D)` and labels `(N,)` or `(N, T)` to train on, in batches of `batch_size`."""
    unchanged = Augmentation(crop_scale=None, flip=False, crop_ratio=1.0)
    source = _Features(features, labels)
    source.class_weights = class_weights
    return TrainingData(source, features.shape[1:], batch_size, seed, unchanged, with_labels=True)


class _Features(Source):
    """Features in memory, and their labels, in place of images."""

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self.num_images, self.image_shape, self._labels = len(features), features.shape[1:], labels
        self.dtype = features.dtype.name
        with tf.init_scope(), tf.device("CPU"):  # held once, by reference: a graph's constants may not exceed 2 GB
            self._table = tf.constant(features)

    def read(self, index) -> dict[str, tf.Tensor]:
        return {"image": tf.gather(self._table, index), "label": self.label_at(index)}

    def name_of(self, index: int) -> str:
        return f"features[{index}]"
