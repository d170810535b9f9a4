"""What a head learns: classes, several labels at once, or numbers; how it is measured, and which epoch is the best."""

from __future__ import annotations

import abc
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from keras_mae.data.source import CLASSES, LABELS, NUMBERS
from keras_mae.encoders import Encoder
from keras_mae.models import ImageClassifier, ImageHead, ImageRegressor
from keras_mae.registry import listed
from keras_mae.trainers.best_model import Measure
from keras_mae.trainers.classification_report import ClassificationReport
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.curves import mean_area
from keras_mae.trainers.evaluation import majority_shares
from keras_mae.trainers.label_report import LabelReport
from keras_mae.trainers.labelled_data import LabelledSources
from keras_mae.trainers.number_report import NumberReport
from keras_mae.trainers.settings import replaced

_log = logging.getLogger("keras_mae")
AnyConfig = FinetuneConfig | ProbeConfig
AnyReport = ClassificationReport | LabelReport | NumberReport


class Task(abc.ABC):
    """What a head learns, and how well.

    Args:
        names: of the outputs, in order.

    Attributes:
        kind: as `Source.task`.
        unit: what the outputs are, in the plural.
        measure: of the best epoch.
        needs_all: whether a measure of each epoch needs the answers to all images at once, see `of_epoch`.
    """

    kind: ClassVar[str]
    unit: ClassVar[str]
    measure: ClassVar[Measure]
    needs_all: ClassVar[bool] = False

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)

    @property
    def counted(self) -> str:
        """How many outputs there are, in words: `10 classes`, `1 number`."""
        return f"{len(self.names)} {self.unit if len(self.names) != 1 else self.unit.removesuffix('s')}"

    @abc.abstractmethod
    def head(self, encoder: Encoder, label_smoothing: float, **arguments: Any) -> ImageHead:
        """A new head on an encoder."""

    @abc.abstractmethod
    def answers(self, outputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Of a call's outputs: what is told of images, `(B, T)`, and what else a report needs."""

    @abc.abstractmethod
    def report(self, most_images: int) -> AnyReport:
        """A new report, to which `add(labels, *answers)` adds batches."""

    def part(self, outputs: Sequence[int]) -> Task:
        """The task of some of the outputs, for a report."""
        return type(self)([self.names[number] for number in outputs])

    def check(self, tested: np.ndarray) -> None:
        """Refuses, with a ValueError, labels to test on that say nothing of the measure."""

    def fitting(self, config: AnyConfig) -> AnyConfig:
        """The config without settings that are for other tasks."""
        return config

    def of_epoch(self, labels: np.ndarray, answers: np.ndarray) -> dict[str, float]:
        """Measures of all images to test on, for the logs, that Keras' metrics do not give exactly."""
        return {}

    def named(self, logs: Mapping[str, float], report: Mapping[str, Any] | None) -> dict[str, Any]:
        """The measures of `results.json`.

        Args:
            logs: of `evaluate`.
            report: the report's results; None if an answer was not finite.
        """
        return {"loss": round(float(logs["loss"]), 6)}

    def baseline(self, tested: np.ndarray) -> dict[str, float]:
        """Measures of a constant answer, for `results.json`, to compare with."""
        return {}


class Classes(Task):
    """One class an image; the best epoch has the highest accuracy."""

    kind, unit, measure = CLASSES, "classes", Measure()

    def head(self, encoder, label_smoothing, **arguments):
        return ImageClassifier(encoder, len(self.names), label_smoothing=label_smoothing, **arguments)

    def answers(self, outputs):
        """Probabilities, and the classes from the most likely one on."""
        # by logits: probabilities of two classes may both round to 1 or 0
        return tf.nn.softmax(outputs), tf.math.top_k(outputs, len(self.names)).indices

    def report(self, most_images):
        return ClassificationReport(self.names, most_images)

    def named(self, logs, report):
        names = {"accuracy": "top1", "top5_accuracy": "top5"}
        found = {name: round(float(logs[key]), 6) for key, name in names.items() if key in logs}
        return {**found, **super().named(logs, report)}

    def baseline(self, tested):
        return majority_shares(tested, len(self.names))


class SeveralLabels(Task):
    """Several labels at once; the best epoch has the highest mean AUC, over the labels that have one."""

    kind, unit, measure, needs_all = LABELS, "labels", Measure("auc", "auc"), True

    def head(self, encoder, label_smoothing, **arguments):
        names = {"label_smoothing": label_smoothing, "multi_label": True}
        return ImageClassifier(encoder, len(self.names), **names, **arguments)

    def answers(self, outputs):
        """Probabilities."""
        return (tf.nn.sigmoid(outputs),)

    def report(self, most_images):
        return LabelReport(self.names)

    def check(self, tested):
        shares = np.mean(tested > 0.5, axis=0)
        if not ((shares > 0) & (shares < 1)).any():
            raise ValueError(
                f"of {len(self.names)} labels ({listed(self.names, 5)}) none has both images with it and images "
                f"without it among the {len(tested)} to test on, and so no AUC, by which the best epoch is chosen: "
                "give others with --validation_data"
            )

    def of_epoch(self, labels, answers):
        area = mean_area(answers, labels > 0.5) if np.isfinite(answers).all() else None
        return {"auc": math.nan if area is None else area}

    def named(self, logs, report):
        means = {name: math.nan if report is None else report[name] for name in ("auc", "average_precision", "f1")}
        return {**means, **super().named(logs, report)}


class Numbers(Task):
    """Numbers; the best epoch has the lowest RMSE of normalised numbers, the root of the default loss.

    Args:
        names: of the outputs, in order.
        mean, std: of the labels to train on, `T` numbers; None if there is no head to make.
    """

    kind, unit, measure = NUMBERS, "numbers", Measure("loss", "normalised_rmse", math.sqrt, lower_is_better=True)

    def __init__(
        self, names: Sequence[str], mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__(names)
        self.mean, self.std = mean, std

    def head(self, encoder, label_smoothing, **arguments):
        return ImageRegressor(encoder, len(self.names), mean=self.mean, std=self.std, **arguments)

    def answers(self, outputs):
        """Numbers in the labels' units."""
        return (outputs,)

    def report(self, most_images):
        return NumberReport(self.names, self.mean)

    def part(self, outputs):
        mean, std = ([values[number] for number in outputs] for values in (self.mean or (), self.std or ()))
        return Numbers([self.names[number] for number in outputs], mean, std)

    def fitting(self, config):
        settings: Any = config
        if not (getattr(settings.data, "mixes", False) or getattr(settings.data, "label_smoothing", 0)):
            return config
        _log.info("mixup, CutMix and label smoothing are for classes and labels: a run for numbers leaves them off")
        return replaced(config, mixup=0.0, cutmix=0.0, label_smoothing=0.0)

    def named(self, logs, report):
        each = [] if report is None else report["per_output"]
        found = {key: {one["output"]: one[key] for one in each} for key in ("mae", "rmse", "r2")}
        return {**found, **super().named(logs, report)}


def task_of(labelled: LabelledSources) -> Task:
    """The task of images with labels; a ValueError if those to test on say nothing of its measure."""
    train, tested = (source.required_labels() for source in (labelled.train, labelled.validation))
    if labelled.task == CLASSES:
        return Classes(class_names(labelled.names, labelled.num_outputs))
    task: Task = SeveralLabels(labelled.names)
    if labelled.task == NUMBERS:
        values = train.astype("float64")
        task = Numbers(labelled.names, *(tuple(one.tolist()) for one in (values.mean(axis=0), values.std(axis=0))))
    task.check(tested)
    return task


def class_names(names: Sequence[str], num_classes: int) -> list[str]:
    """A name for each class: its number if it has none."""
    return [*names[:num_classes], *map(str, range(len(names), num_classes))]
