"""What fine-tuning and linear probing do alike: train, test each epoch, keep the last and the best, report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mae.data import CorruptImages
from keras_mae.models import ImageClassifier
from keras_mae.optimizers import WarmupCosine
from keras_mae.trainers import callbacks, run
from keras_mae.trainers.best_model import BestModel
from keras_mae.trainers.classifier_config import ClassifierConfig
from keras_mae.trainers.finetune_config import FinetuneConfig
from keras_mae.trainers.loop import train
from keras_mae.trainers.probe_config import ProbeConfig
from keras_mae.trainers.strategy import any_worker, is_chief

_log = logging.getLogger("keras_mae")


def steps_per_epoch(config: ClassifierConfig, num_images: int) -> int:
    """How many whole batches the images give; the rest is left out of an epoch, another one each time.

    Raises:
        ValueError: if there is none.
    """
    steps = num_images // config.batch_size
    if not steps:
        smaller = max(1, 2 ** int(np.log2(max(num_images // 4, 1))))
        raise ValueError(
            f"a batch of {config.batch_size} needs as many images, and there are {num_images} to train on; set a "
            f"smaller one, such as --set batch_size={smaller}"
        )
    return steps


def schedule_of(config: ClassifierConfig, steps: int) -> WarmupCosine:
    """The learning rate by step.

    Raises:
        ValueError: if the warm-up is not shorter than the run.
    """
    return WarmupCosine(
        config.peak_learning_rate, round(config.warmup_epochs * steps), config.epochs * steps, config.min_learning_rate
    )


def train_classifier(
    classifier: ImageClassifier,
    config: FinetuneConfig | ProbeConfig,
    data: str,
    output: str,
    num_images: int,
    dataset_at: Callable[[int, int, int], tf.data.Dataset],
    validation: tf.data.Dataset,
    corrupt: tuple[CorruptImages, ...] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Trains a compiled classifier and fills a run folder.

    Args:
        classifier: compiled in the scope of its strategy.
        config: the run's.
        data: what `config.json` says of the data.
        output: the run folder.
        num_images: how many there are to train on.
        dataset_at: from (step, number of hosts, index of this host) to an endless stream of training batches.
        validation: batches `(images, labels)`, each image once.
        corrupt: of the two sets of images.
        resume, overwrite: what to do with the run that is there.

    Returns:
        What `results.json` holds: accuracies of the last epoch's model (`model.keras`) and the best epoch's
        (`best.keras`) on the validation images, and the size of it all.

    Raises:
        ValueError: for an output that is taken, or too many corrupt images or steps that were not finite.
    """
    begin = time.perf_counter()
    strategy = classifier.distribute_strategy
    folder, chief = run.RunFolder(output), is_chief(strategy)
    if chief:
        folder.start(config, data, resume, overwrite)
    steps = steps_per_epoch(config, num_images)

    def save(name: str) -> None:
        if chief:
            folder.replace(name, lambda path: classifier.save(path, include_optimizer=False))

    best = BestModel(lambda: save(run.BEST), folder / run.LOG, config.stop_after)

    def announce(done: int) -> None:
        classifier.stop_training = best.start(done // steps)
        _log.info(
            "%d images of %d classes, %d steps an epoch, %d epochs%s; %s parameters, %s of them trained; peak learning "
            "rate %.3g",
            num_images,
            classifier.num_classes,
            steps,
            config.epochs,
            f", resumed after {done} of {config.epochs * steps} steps" if done else "",
            f"{classifier.count_params():,}",
            f"{sum(int(np.prod(v.shape)) for v in classifier.trainable_variables):,}",
            config.peak_learning_rate,
        )

    try:
        train(
            classifier,
            dataset_at,
            folder,
            config.epochs,
            steps,
            config.batch_size,
            resume,
            config.checkpoint_steps,
            config.checkpoint_minutes,
            config.max_skipped_steps,
            everywhere=[*map(callbacks.StopOnTooManyCorrupt, corrupt), best],
            on_start=announce,
            validation_data=validation,
        )
    except (run.Preempted, OSError):
        raise
    except BaseException:
        for each in corrupt:
            each.check()  # if a stream ended because of corrupt images, that is the message
        raise
    last = classifier.evaluate(validation, verbose=0, return_dict=True)
    results = {
        "program": config.program,
        **_named(last),
        "best": {"epoch": best.epoch, "top1": best.accuracy} if best.epoch else None,
        "epochs": int(classifier.batches_seen) // steps,
        "num_classes": classifier.num_classes,
        "train_images": num_images,
        "seconds": round(time.perf_counter() - begin, 1),
    }
    if chief:
        save(run.MODEL)
        folder.replace(run.ENCODER, classifier.encoder.save)
        folder.write_json(run.RESULTS, results)
    any_worker(strategy, [False])  # who leaves before the chief has saved would end its process too
    for each in corrupt:
        if each.names:
            _log.warning(each.summary())
    return results


def _named(logs: dict[str, float]) -> dict[str, float]:
    names = {"accuracy": "top1", "top5_accuracy": "top5", "loss": "loss"}
    return {name: round(float(logs[key]), 6) for key, name in names.items() if key in logs}
