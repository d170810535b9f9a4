"""Predictions of a trained head for all images of a source, and a report if they have labels."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm

from keras_mae.data import CorruptImages, Source, Subset, evaluation_dataset, open_source
from keras_mae.data.source import CLASSES
from keras_mae.models import ImageHead
from keras_mae.models.saved_files import load_model_file
from keras_mae.progress import images_bar
from keras_mae.trainers import run
from keras_mae.trainers.answers import Answers
from keras_mae.trainers.labelled_data import check_channels
from keras_mae.trainers.predicted_data import open_predicted
from keras_mae.trainers.prediction_files import PredictionFiles
from keras_mae.trainers.prediction_rows import PredictionRows, rows_for, task_of_head
from keras_mae.trainers.report_files import write_files, write_rows
from keras_mae.trainers.tasks import Task
from keras_mae.trainers.trained_model import TrainedModel, find_model, read_as_trained, say_if_outside

_log = logging.getLogger("keras_mae")


def predict(
    run_path: str,
    data: str,
    output: str,
    split: str | None = None,
    k: int = 5,
    batch_size: int = 256,
    overwrite: bool = False,
    as_served: Callable[[Any], Any] = lambda model: model,
    labels: str | None = None,
    label_columns: str | None = None,
) -> dict[str, Any]:
    """Writes what a head answers to all images, in the order of the source, and a report if they have labels.

    Crop ratio, decoding and bit depth are those of the run, so probabilities are those of the exported classifier.
    Images that cannot be used have no row: `predictions_skipped.csv` lists them. The columns are `name`, and

    - of classes: `label`, if there are any; `predicted` and `probability`; and `predicted_2`, `probability_2`, ... up
      to k;
    - of several labels: `label`, if there are any, the names of those that the image has, separated by a semicolon;
      `predicted`, likewise, of those with a probability above one half; and a column `probability_NAME` for each;
    - of numbers: a column `label_NAME` for each that is known, and a column `predicted_NAME` for each.

    Args:
        run_path: the folder of a run of fine-tuning or linear probing, or the `.keras` file of a head.
        data: a data specification, with labels or without, see `keras_mae.data.open_source`.
        output: the CSV file to write, see `PredictionFiles` for those beside it.
        split: `"train"` or `"validation"`, as for `open_source`.
        k: the number of classes to write for each image, at most all.
        batch_size: images that are computed together.
        overwrite: replace the files that are there.
        as_served: makes the model that computes of the one that was trained, such as a copy in another dtype.
        labels, label_columns: the table and the columns of labels, see `open_predicted`.

    Returns:
        `images` and `skipped`, their numbers, `written`, the paths of the files, and `report`, see
        `ClassificationReport`, `LabelReport` and `NumberReport`; None without labels that the run knows.

    Raises:
        ValueError: if there is no such head, the images do not fit it, too many of them are corrupt, an answer is not
            finite, or the output is there.
    """
    files = PredictionFiles(output)
    files.check(overwrite)
    trained = find_model(run_path, run.MODEL)
    model = load_model_file(trained.path)
    task = task_of_head(model, trained)
    source = open_predicted(trained, task.kind, data, split, labels, label_columns)
    rows = rows_for(task, trained, source, k)
    say_if_outside(trained, f"the crop ratio is {trained.crop_ratio}, and {task.unit} have no names")
    if split is None and source.validation_apart:
        _log.info("these are the images to train on; those to test on lie apart: --split=validation classifies them")
    read_as_trained(trained.seen.get("dtype"), trained.path, source)
    check_channels(source, model.encoder.image_shape[-1])
    say_if_seen(trained, data, split)
    corrupt = CorruptImages(source)
    for note in rows.before():
        _log.warning(note)
    with files.written(overwrite) as aside:
        batches = _batches(as_served(model), task, source, trained.crop_ratio, batch_size, corrupt)
        count = _write_predictions(aside.predictions, source, batches, rows)
        skipped = sorted(corrupt.names)
        if skipped:
            _log.warning("%s: they have no row, and are listed in %s", corrupt.summary(), files.skipped)
            write_rows(aside.skipped, [["name"], *([source.name_inside(index)] for index in skipped)])
        for note in rows.after():
            _log.warning(note)
        results = None
        if rows.report is not None and rows.report.num_images:
            results = rows.report.results()
            results["notes"] += rows.before() + rows.after()
            about = {"run": trained.path, "data": data, "split": split, "images_skipped": len(skipped)}
            with open(aside.report, "w", encoding="utf-8") as file:
                file.write(json.dumps({**about, **results}, indent=2) + "\n")
            write_files(rows.report, aside.path_of)
    return {"images": count, "skipped": len(skipped), "written": files.there(), "report": results}


def _write_predictions(
    path: str,
    source: Source,
    batches: Iterable[tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]],
    rows: PredictionRows,
) -> int:
    """Writes a row for each image of `_batches`; returns the number of images."""
    count = 0
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["name", *rows.heads])
        for indices, labels, answers in batches:
            for index, row in zip(indices.tolist(), rows.rows(labels, answers), strict=True):
                table.writerow([source.name_inside(index), *row])
            count += len(indices)
    return count


def _batches(
    model: ImageHead, task: Task, source: Source, crop_ratio: float, batch_size: int, corrupt: CorruptImages
) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]]:
    """Yields, for the images of a batch, indices, labels, and answers, see `Task.answers`."""
    dataset = evaluation_dataset(
        _Numbered(source), model.encoder.image_shape, min(batch_size, source.num_images), crop_ratio, corrupt,
        with_labels=True,
    )  # fmt: skip
    bar: tqdm | None = None
    try:
        for numbered, answers in Answers(model, task, dataset):
            indices = numbered[:, 0].astype("int64")
            labels = numbered[:, 1].astype("int64") if source.task == CLASSES else numbered[:, 1:]
            _check_finite(source, indices, answers[0])
            yield indices, labels, answers
            corrupt.check()
            if bar is None:  # tracing and the first batch would distort the rate
                bar = images_bar(source.num_images, len(indices), "predicted")
            else:
                bar.update(len(indices))
        corrupt.check()
    finally:
        if bar is not None:
            bar.close()


def _check_finite(source: Source, indices: np.ndarray, answers: np.ndarray) -> None:
    broken = indices[~np.isfinite(answers).all(axis=1)]
    if len(broken):
        raise ValueError(
            f"the model's answers to {source.name_of(int(broken[0]))}, and to {len(broken) - 1} more images beside "
            "it, are not finite: its weights hold NaN, or its dtype policy does not hold its activations"
        )


class _Numbered(Subset):
    """All images of a source; the field `label` holds index and label of the image, float64 `(1 + T,)`."""

    def __init__(self, source: Source) -> None:
        super().__init__(source, np.arange(source.num_images))

    @property
    def labelled(self) -> bool:
        return True

    def read(self, index) -> dict[str, tf.Tensor]:
        example = self.source.read(index)
        label = tf.cast(tf.reshape(example["label"], [*index.shape, -1]), tf.float64)
        return {**example, "label": tf.concat([tf.cast(index, tf.float64)[..., None], label], axis=-1)}


def say_if_seen(trained: TrainedModel, data: str, split: str | None) -> None:
    """Warns of images that the model was trained on."""
    if not trained.has_seen(data):
        return
    validation = getattr(getattr(trained.config, "data", None), "validation_data", None)
    if split == "validation" and (validation is None or open_source(data).validation_apart):
        return  # with images to test on elsewhere, all of these are trained on but for a part that lies apart
    others = "--split=validation" if validation is None else f"--data={validation}"
    _log.warning(
        "the model was trained on %s: how well it does on them says little about others; it was tested on %s",
        "these images" if split else "these images, or most of them", others,
    )  # fmt: skip
