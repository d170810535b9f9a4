"""The run of a head, by fine-tuning or linear probing: train, test each epoch, save the last and the best, report."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_mae.data import CorruptImages, Source, TrainingData, evaluation_dataset
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.seen import Seen
from keras_mae.models import ImageClassifier
from keras_mae.trainers import run
from keras_mae.trainers.best_model import BestModel
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.encoder_choice import run_of, with_statistics_of
from keras_mae.trainers.evaluation import majority_shares
from keras_mae.trainers.labelled_data import check_channels, labelled_sources
from keras_mae.trainers.loop import train
from keras_mae.trainers.programs import begin, compile_model, save_finished, save_model, steps_per_epoch
from keras_mae.trainers.strategy import on_chief
from keras_mae.trainers.trained_model import find_model, say_other_depth

_log = logging.getLogger("keras_mae")


class ClassifierData(NamedTuple):
    """The data of a head.

    Attributes:
        training: images to train on.
        validation: batches `(images, labels)` to test on, each image once.
        tested_labels: of the validation images, int64 `(N,)`, or float32 `(N, T)`.
        corrupt: counts of the corrupt images of both sets.
    """

    training: TrainingData
    validation: tf.data.Dataset
    tested_labels: np.ndarray
    corrupt: tuple[CorruptImages, ...] = ()


def with_validation(
    training: TrainingData, validation: Source, crop_ratio: float, tested_together: int
) -> ClassifierData:
    """Images to train on, and images to test on in batches of at most `tested_together`."""
    corrupt = CorruptImages(validation)
    together = min(tested_together, validation.num_images)
    tested = evaluation_dataset(validation, training.image_shape, together, crop_ratio, corrupt, with_labels=True)
    return ClassifierData(training, tested, validation.required_labels(), (training.corrupt, corrupt))


def train_head(
    build: Callable[[Any, Task], tuple[ImageHead, dict[str, Any] | None]],
    prepare: Callable[[Any, Any, Source, Source], ClassifierData],
    config: FinetuneConfig | ProbeConfig,
    data: str,
    output: str,
    resume: bool,
    overwrite: bool,
    strategy: str,
    tpu: str,
) -> dict[str, Any]:
    """Trains a head and fills a run folder.

    Args:
        build: makes the head of a config and a task, and the record of its first weights.
        prepare: makes the data of a head, its config, the images to train on, and the images to test on.
        config, data, output, resume, overwrite, strategy, tpu: see `finetune`, also for what it returns and raises.
    """
    scope = begin(config, data, output, strategy, tpu)
    folder = run.RunFolder(output)
    labelled = labelled_sources(config, data)
    source, validation, num_classes = labelled.train, labelled.validation, labelled.num_classes
    steps = steps_per_epoch(config, source.num_images)
    trained = None if (own_run := run_of(config.encoder)) is None else find_model(own_run)
    if trained is not None:
        say_other_depth(trained, source)
    config = with_statistics_of(config, source, folder, resume)
    with scope.scope():
        classifier, init = build(config, num_classes)
        for each in (source, validation):
            check_channels(each, classifier.encoder.image_shape[-1], settable=trained is None)
        compile_model(classifier, config, steps)
    prepared, start = prepare(classifier, config, source, validation), time.perf_counter()
    loaded = None if config.encoder.run is None else find_model(config.encoder.run).path
    on_chief(scope, lambda: folder.start(config, data, resume, overwrite, Seen(source, validation), loaded, init))
    tested, shares = len(prepared.tested_labels), majority_shares(prepared.tested_labels, num_classes)

    def save_best() -> None:
        save_model(classifier, folder, run.BEST)

    best = BestModel(lambda: on_chief(scope, save_best), folder / run.LOG, config.optimizer.stop_after)

    def announce(done: int) -> None:
        classifier.stop_training = best.start(done // steps)
        _log.info(
            "%d images of %d classes, %d steps an epoch, %d epochs%s; %s parameters, %s of them trained; peak learning "
            "rate %.3g; tested on %d images, of which %.1f %% are of the largest class",
            source.num_images,
            num_classes,
            steps,
            config.optimizer.epochs,
            f", resumed after {done} of {config.optimizer.epochs * steps} steps" if done else "",
            f"{classifier.count_params():,}",
            f"{sum(int(np.prod(v.shape)) for v in classifier.trainable_variables):,}",
            config.optimizer.peak_learning_rate,
            tested,
            100 * shares["majority_share"],
        )

    with warnings.catch_warnings():
        # Keras warns that the data ran out if not all validation images can be decoded
        warnings.filterwarnings("ignore", "Your input ran out of data")
        train(
            classifier,
            config,
            prepared.training,
            folder,
            steps,
            prepared.corrupt,
            resume,
            everywhere=[best],
            on_start=announce,
            validation_data=prepared.validation,
        )
        with storage_errors():
            last = classifier.evaluate(prepared.validation, verbose=0, return_dict=True)
    results = {
        "program": config.program,
        **_named(last),
        "best": best.result if best.epoch else None,
        **shares,
        "epochs": int(classifier.batches_seen) // steps,
        "num_classes": num_classes,
        "train_images": source.num_images,
        "validation_images": tested,
        "seconds": round(time.perf_counter() - start, 1),
    }
    save_finished(classifier, folder, prepared.corrupt, results)
    if not math.isfinite(last["loss"]):
        _log.warning("the last model's loss on the images to test on is not finite: its accuracy means nothing")
    return results


def _named(logs: dict[str, float]) -> dict[str, float]:
    names = {"accuracy": "top1", "top5_accuracy": "top5", "loss": "loss"}
    return {name: round(float(logs[key]), 6) for key, name in names.items() if key in logs}
