"""Linear probing: what a linear layer makes of frozen features."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.data import Source
from keras_mae.data.seen import Seen
from keras_mae.data.sources import kind_of
from keras_mae.models import ImageClassifier
from keras_mae.one_writer import released
from keras_mae.trainers import run
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.classifier_run import ClassifierData, image_batches, train_classifier
from keras_mae.trainers.encoder_choice import choose_encoder
from keras_mae.trainers.features import ENCODED, features_of
from keras_mae.trainers.labelled_data import labelled_sources
from keras_mae.trainers.memory import check_memory
from keras_mae.trainers.probe_config import ProbeConfig
from keras_mae.trainers.programs import jit_of, steps_per_epoch
from keras_mae.trainers.strategy import check_batch, make_strategy, on_chief

_log = logging.getLogger("keras_mae")


def build(config: ProbeConfig, num_classes: int) -> ImageClassifier:
    """The probe of a config, before training: a frozen encoder, BatchNorm without affine parameters, a linear layer."""
    keras.utils.set_random_seed(config.run.seed)
    return ImageClassifier(
        choose_encoder(config),
        num_classes,
        config.head.pooling,
        num_trainable_layers=0,
        seed=config.run.seed,
        block=config.head.block,
        dtype=config.run.dtype_policy,
    )


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
        config: whose features, and how they are probed.
        data: a data specification with labels, see `keras_mae.data.open_source`.
        output: the run folder.
        resume: continue the run that is there.
        overwrite: discard the run that is there.
        strategy, tpu: on what, see `make_strategy`.

    Returns:
        What `results.json` holds: `top1`, `top5` and `loss` on the validation images, `best`, `epochs`, ...

    Raises:
        ValueError, OSError, Preempted: as `finetune`.
    """
    check_together(config)
    kind_of(data)
    scope = make_strategy(strategy, tpu)
    check_batch(config.optimizer.batch_size, 1, scope)
    on_chief(scope, run.RunFolder(output).claim)
    check_memory(config, scope)
    source, validation, num_classes = labelled_sources(config, data)
    steps = steps_per_epoch(config, source.num_images)
    with scope.scope():
        probe = build(config, num_classes)
        probe.compile(
            optimizer=config.optimizer.build(steps),
            jit_compile=jit_of(config, probe),
        )
    batches = prepared(probe, config, source, validation)
    batches = batches._replace(seen=Seen(source, validation))
    return train_classifier(probe, config, batches, data, output, resume, overwrite)


def prepared(probe: ImageClassifier, config: ProbeConfig, source: Source, validation: Source) -> ClassifierData:
    """What trains and tests a probe: images, or without random crop and flip the features of each, computed once."""
    if config.data.is_fixed:
        return _of_features(probe, config, source, validation)
    return image_batches(config, source, validation, probe.encoder.image_shape, config.data.build(), ENCODED)


def _of_features(probe: ImageClassifier, config: ProbeConfig, source: Source, validation: Source) -> ClassifierData:
    _log.info("features of %d and %d images, once", source.num_images, validation.num_images)
    train, test = (
        features_of(probe.encoder, each, config.head.pooling, config.data.crop_ratio, ENCODED, config.head.block)
        for each in (source, validation)
    )

    def dataset_at(step: int, num_hosts: int, host: int) -> tf.data.Dataset:
        return feature_batches(*train, config.optimizer.batch_size, config.run.seed, step, num_hosts, host)

    tested = tf.data.Dataset.from_tensor_slices(test).batch(4 * ENCODED)
    return ClassifierData(len(train[0]), dataset_at, tested, test[1])


def feature_batches(
    features: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    num_hosts: int = 1,
    host: int = 0,
) -> tf.data.Dataset:
    """An endless stream of batches of features, each a function of (seed, step), as `training_dataset` has of images.

    Args:
        features: `(N, D)`.
        labels: `(N,)`.
        batch_size: of a global batch.
        seed: int.
        first_step: steps that were taken before.
        num_hosts, host: this host's contiguous share of every batch.

    Returns:
        Batches `(batch_size / num_hosts, D)` and `(batch_size / num_hosts,)`.
    """
    per_epoch, share = len(features) // batch_size * batch_size, batch_size // num_hosts
    with tf.init_scope():  # held once, by reference: a constant in a graph may not exceed 2 GB
        table, classes = tf.constant(features), tf.constant(labels)

    def load_batch(step):
        positions = step * batch_size + host * share + tf.range(share, dtype=tf.int64)
        key = tf.stack([tf.constant(seed, tf.int64), positions[0] // per_epoch])
        chosen = tf.random.experimental.index_shuffle(positions % per_epoch, key, len(features) - 1)
        return tf.gather(table, chosen), tf.gather(classes, chosen)

    return tf.data.Dataset.range(first_step, np.iinfo(np.int64).max).map(load_batch).prefetch(tf.data.AUTOTUNE)
