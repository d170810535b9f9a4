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
from keras_mae.models import ImageHead
from keras_mae.trainers import run
from keras_mae.trainers.answers import Answers, EpochMeasures
from keras_mae.trainers.best_model import BestModel
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.encoder_choice import run_of, with_statistics_of
from keras_mae.trainers.labelled_data import check_channels, labelled_sources
from keras_mae.trainers.loop import train
from keras_mae.trainers.programs import begin, compile_model, save_finished, save_model, steps_per_epoch
from keras_mae.trainers.report_files import write_folder
from keras_mae.trainers.strategy import on_chief
from keras_mae.trainers.tasks import AnyReport, Task, task_of
from keras_mae.trainers.trained_model import find_model, say_other_depth

_log = logging.getLogger("keras_mae")
MAJORITY = "majority_share"


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
    config, scope = begin(config, data, output, strategy, tpu, resume)
    folder = run.RunFolder(output)
    labelled = labelled_sources(config, data)
    source, validation, task = labelled.train, labelled.validation, task_of(labelled)
    config = task.fitting(config)
    steps = steps_per_epoch(config, source.num_images)
    trained = None if (own_run := run_of(config.encoder)) is None else find_model(own_run)
    if trained is not None:
        say_other_depth(trained, source)
    config = with_statistics_of(config, source, folder, resume)
    with scope.scope():
        head, init = build(config, task)
        for each in (source, validation):
            check_channels(each, head.encoder.image_shape[-1], settable=trained is None)
        compile_model(head, config, steps)
    prepared, start = prepare(head, config, source, validation), time.perf_counter()
    loaded = None if config.encoder.run is None else find_model(config.encoder.run).path
    on_chief(scope, lambda: folder.start(config, data, resume, overwrite, Seen(source, validation), loaded, init))
    tested, baseline = len(prepared.tested_labels), task.baseline(prepared.tested_labels)
    answers = Answers(head, task, prepared.validation)

    def save_best() -> None:
        save_model(head, folder, run.BEST)

    best = BestModel(lambda: on_chief(scope, save_best), folder / run.LOG, config.optimizer.stop_after, task.measure)

    def announce(done: int) -> None:
        head.stop_training = best.start(done // steps)
        share = f", of which {100 * baseline[MAJORITY]:.1f} % are of the largest class" if MAJORITY in baseline else ""
        _log.info(
            "%d images of %s, %d steps an epoch, %d epochs%s; %s parameters, %s of them trained; peak learning "
            "rate %.3g; tested on %d images%s",
            source.num_images,
            task.counted,
            steps,
            config.optimizer.epochs,
            f", resumed after {done} of {config.optimizer.epochs * steps} steps" if done else "",
            f"{head.count_params():,}",
            f"{sum(int(np.prod(v.shape)) for v in head.trainable_variables):,}",
            config.optimizer.peak_learning_rate,
            tested,
            share,
        )

    with warnings.catch_warnings():
        # Keras warns that the data ran out if not all validation images can be decoded
        warnings.filterwarnings("ignore", "Your input ran out of data")
        train(
            head,
            config,
            prepared.training,
            folder,
            steps,
            prepared.corrupt,
            resume,
            everywhere=[*([EpochMeasures(task, answers)] if task.needs_all else []), best],
            on_start=announce,
            validation_data=prepared.validation,
        )
        with storage_errors():
            last = head.evaluate(prepared.validation, verbose=0, return_dict=True)
    report = report_of(task, answers, tested)
    measures = None if report is None else report.results()
    results = {
        "program": config.program,
        **task.named(last, measures),
        "best": best.result if best.epoch else None,
        **baseline,
        "epochs": int(head.batches_seen) // steps,
        f"num_{task.unit}": len(task.names),
        "train_images": source.num_images,
        "validation_images": tested,
        "seconds": round(time.perf_counter() - start, 1),
        "report": measures,
    }
    if report is not None:
        on_chief(scope, lambda: write_folder(report, folder / run.REPORT))
    save_finished(head, folder, prepared.corrupt, results)
    if report is None or not math.isfinite(last["loss"]):
        _log.warning("the last model's loss on the images to test on is not finite: its accuracy means nothing")
    return results


def report_of(task: Task, answers: Answers, most_images: int) -> AnyReport | None:
    """The report of a head's answers; None if one of them is not finite."""
    report = task.report(most_images)
    for labels, answer in answers:
        if not np.isfinite(answer[0]).all():
            return None
        report.add(labels, *answer)
    return report
