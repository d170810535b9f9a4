"""Measures of the features while a model is pretrained, and the best epoch by one of them."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_mae.data import CorruptImages, Source
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.trainers import run
from keras_mae.trainers.best_model import BestModel, Measure
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.monitor_interval import cost_in_epochs, interval
from keras_mae.trainers.programs import save_model
from keras_mae.trainers.quality_data import UNLABELLED, labelled_subset, some
from keras_mae.trainers.quality_labelled import LabelledQuality
from keras_mae.trainers.quality_unlabelled import UnlabelledQuality
from keras_mae.trainers.strategy import any_worker, is_chief, on_chief

_log = logging.getLogger("keras_mae")
# The first is the default. Its rank correlation with kNN over 27 evaluations of three runs of digits was 0.94 (that of
# the consistency: 0.92), within the best of them 0.98 (0.95), and in its last two thirds 0.93 (0.85): it has less noise
_WITHOUT_LABELS = ("rankme", "consistency")
# How a measure is called, and whether it is shown in percent
SHOWN = {
    "knn": ("kNN", True),
    "ridge": ("ridge", True),
    "knn_auc": ("kNN AUC", False),
    "ridge_auc": ("ridge AUC", False),
    "knn_r2": ("kNN R^2", False),
    "ridge_r2": ("ridge R^2", False),
    "consistency": ("consistency", True),
    "rankme": ("RankMe", False),
    "alignment": ("alignment", False),
}


class Monitor(keras.callbacks.Callback):
    """Puts measures of the features into the logs of some epochs, saves the model of the best one, and stops early.

    Weights, optimizer, random numbers and the step's graph stay as they are: an evaluation reads the encoder's present
    weights, in a graph of its own. Images are read again each time; only their features are held. Of several workers
    the chief alone measures.

    It comes before the callbacks that write the logs.

    Args:
        model: that is trained.
        qualities: what is measured: each gives a dictionary of measures when it is called.
        every: epochs between evaluations.
        epochs: of the run; the last one is evaluated, too.
        folder: of the run.
        key: of the measure in the logs that decides which epoch is the best.
        stop_after: evaluations without a better one after which training ends; None for none.
        named_sources: labelled images that are not of the run's data.
        corrupt: accounts of images that cannot be used, and are not trained on.
        cost: of an evaluation, in epochs.

    Attributes:
        named_sources, corrupt: the same.
        share: what the evaluations cost, as a share of the epochs.
    """

    def __init__(
        self,
        model: MaskedImageModel,
        qualities: list[LabelledQuality | UnlabelledQuality],
        every: int,
        epochs: int,
        folder: run.RunFolder,
        key: str,
        stop_after: int | None = None,
        named_sources: Sequence[Source] = (),
        corrupt: Sequence[CorruptImages] = (),
        cost: float = 0.0,
    ) -> None:
        super().__init__()
        self.share = cost / every
        self.named_sources, self.corrupt = list(named_sources), list(corrupt)
        self._strategy, self._qualities, self._folder, self._key = model.distribute_strategy, qualities, folder, key
        self._every, self._epochs = every, epochs
        self._names = [name for quality in qualities for name in quality.names]
        measure = Measure(key, key, of_validation=False)
        self._best = BestModel(lambda: save_model(model, folder, run.BEST), folder / run.LOG, stop_after, measure)
        self._best.set_model(model)
        self._spent, self._before, self._begin = 0.0, 0.0, time.perf_counter()
        self._said_missing = False

    def described(self) -> str:
        """What is measured, in a line."""
        what = "; ".join(quality.described() for quality in self._qualities)
        often = "every epoch" if self._every == 1 else f"every {self._every} epochs"
        return f"evaluated {often}: {what}; {run.BEST} is the best by {SHOWN[self._key][0]}"

    def start(self, epochs: int) -> bool:
        """Reads the first `epochs` epochs from the log; returns whether the run had stopped there."""
        records = [record for record in self._records() if record["epoch"] <= epochs]
        self._before = sum(record.get("seconds", 0.0) for record in records)
        self._spent = sum(record.get("evaluation_seconds", 0.0) for record in records)
        self._begin = time.perf_counter()
        return self._best.start(epochs)

    def on_epoch_end(self, epoch, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self._every and epoch + 1 != self._epochs:
            return
        found: dict[str, float] = {}
        on_chief(self._strategy, lambda: found.update(self._evaluate(epoch)))
        if logs is not None:
            logs.update(found)
        if any_worker(self._strategy, [self._best.waited_enough])[0]:
            self.model.stop_training = True
            if is_chief(self._strategy) and epoch + 1 < self._epochs:
                _log.info(
                    "stopped after epoch %d: no evaluation since epoch %d was better", epoch + 1, self._best.epoch
                )

    def _evaluate(self, epoch: int) -> dict[str, float]:
        begin, found = time.perf_counter(), dict[str, float]()
        for quality in self._qualities:
            try:
                found |= quality()
            except (ValueError, MemoryError, tf.errors.OpError) as error:  # what only watches ends no run
                found |= dict.fromkeys(quality.names, math.nan)
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                _log.warning("epoch %d is not measured: %s", epoch + 1, reason)
        self._best.on_epoch_end(epoch, found)
        seconds = time.perf_counter() - begin
        self._spent += seconds
        finite = {name: value for name, value in found.items() if math.isfinite(value)}
        if finite:
            said = ", ".join(self._said(name, value, epoch + 1) for name, value in finite.items())
            _log.info("epoch %d: %s; %.1f %% of the time so far", epoch + 1, said, self._percent())
            missing = [SHOWN[name][0] for name in found if name not in finite]
            if missing and not self._said_missing:
                self._said_missing = True
                _log.warning("these images do not tell: %s", ", ".join(missing))
        return {**found, "evaluation_seconds": round(seconds, 3)}

    def _percent(self) -> float:
        """The evaluations' share of the time so far."""
        return 100 * self._spent / (self._before + time.perf_counter() - self._begin)

    def _said(self, name: str, value: float, epoch: int) -> str:
        text = said(name, value)
        if name != self._key:
            return text
        best = self._best.result
        return f"{text} (best)" if best["epoch"] == epoch else f"{text} (best: epoch {best['epoch']})"

    def results(self) -> dict[str, Any] | None:
        """The contents of `results.json`, from the log; None if no epoch has been evaluated."""
        records = self._records()
        measured = [record for record in records if self._key in record]
        self._best.start(records[-1]["epoch"] if records else 0)
        if not measured:
            return None
        best = next(record for record in measured if record["epoch"] == self._best.epoch)
        counts = {name: count for quality in self._qualities for name, count in quality.counts().items()}
        return {
            "program": "pretrain",
            **self._measures(measured[-1]),
            "loss": records[-1]["loss"],
            "best": {"epoch": best["epoch"], **self._measures(best), "loss": best["loss"]},
            "monitor": self._key,
            "evaluations": len(measured),
            "evaluate_every": self._every,
            "evaluation_percent": round(self._percent(), 2),
            **counts,
            "epochs": records[-1]["epoch"],
            "seconds": round(sum(one.get("seconds", 0.0) for one in records), 1),
        }

    def last_line(self, results: Mapping[str, Any]) -> str:
        """The best epoch of `results`, in a line."""
        best = results["best"]
        return (
            f"{run.BEST} is epoch {best['epoch']} of {results['epochs']}: {said(self._key, best[self._key])}, and "
            f"{said(self._key, results[self._key])} in the last one; evaluation took "
            f"{results['evaluation_percent']:.1f} % of the time"
        )

    def _measures(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {name: record[name] for name in self._names if name in record}

    def _records(self) -> list[dict[str, Any]]:
        path = self._folder / run.LOG
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]


def said(name: str, value: float) -> str:
    """A measure for people: `kNN 83.1 %`."""
    shown, in_percent = SHOWN[name]
    return f"{shown} {100 * value:.1f} %" if in_percent else f"{shown} {value:.4g}"


def make_monitor(
    model: MaskedImageModel, config: PretrainConfig, data: str, source: Source, steps: int, folder: run.RunFolder
) -> Monitor | None:
    """The monitor of a run; None if no epoch of it is evaluated, and then no image is read and nothing traced.

    Args:
        model, config, data, folder: of the run.
        source: the images that are trained on.
        steps: in an epoch.

    Raises:
        ValueError: for labels that are asked for and missing or wrong.
    """
    own, epochs = config.evaluation, config.optimizer.epochs
    every = own.evaluate_every
    if every == 0:
        return None
    epoch = (steps, config.optimizer.batch_size)

    def too_dear(images: int) -> bool:
        return every is None and not interval(cost_in_epochs(model, images, *epoch), epochs)

    least = min(own.evaluation_images or UNLABELLED, source.num_images)
    if not own.asks_for_labels and too_dear(least):
        _say_none(own.is_asked_for, least * 1.0, model, epoch)
        return None
    without = own.monitor in _WITHOUT_LABELS
    labelled = labelled_subset(config, data, source)
    if labelled is None and own.monitor not in (None, *_WITHOUT_LABELS):
        raise ValueError(
            f"monitor={own.monitor} needs labels, and {data} has none that can be told apart: name images that have "
            "some with --labelled_data, or a table with --labels"
        )
    compared = some(source, own.evaluation_images or UNLABELLED) if without or labelled is None else None
    images = 0 if labelled is None else labelled.train.num_images + labelled.validation.num_images
    images += 0 if compared is None else 3 * compared.num_images
    if too_dear(images):
        _say_none(own.is_asked_for, images, model, epoch)
        return None
    cost = cost_in_epochs(model, images, *epoch)
    if every is None:
        every = interval(cost, epochs)
    qualities: list[LabelledQuality | UnlabelledQuality] = []
    if labelled is not None:
        qualities.append(LabelledQuality(model.encoder, labelled, config.data.crop_ratio))
    if compared is not None:
        qualities.append(UnlabelledQuality(model.encoder, compared, config.data))
    chosen = own.monitor or ("knn" if labelled is not None else _WITHOUT_LABELS[0])
    key = next(name for quality in qualities for name in quality.names if name.partition("_")[0] == chosen)
    named = [] if labelled is None or own.labelled_data is None else [labelled.train, labelled.validation]
    others = qualities[0].corrupt if named else qualities[0].corrupt[1:] if source.validation_apart else []
    return Monitor(model, qualities, every, epochs, folder, key, own.stop_after, named, others, cost)


def _say_none(asked: bool, images: float, model: MaskedImageModel, epoch: tuple[int, int]) -> None:
    """Says that evaluations would cost too much, if settings ask for them."""
    if asked:
        cost = cost_in_epochs(model, int(images), *epoch)
        _log.warning(
            "nothing is evaluated while training: an evaluation costs about as much as %.2g epochs, more than 3 %% "
            "of the run; --set evaluate_every=1 does it after every epoch all the same",
            cost,
        )
