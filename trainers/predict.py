"""Predictions of a trained classifier for all images of a source, and a report if they have labels."""

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
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.progress import images_bar
from keras_mae.data.sources import absolute
from keras_mae.models import ImageClassifier
from keras_mae.models.saved_files import load_model_file
from keras_mae.trainers import run
from keras_mae.trainers.class_labels import ClassLabels, classes_of
from keras_mae.trainers.classification_report import ClassificationReport
from keras_mae.trainers.confusion_picture import confusion_picture
from keras_mae.trainers.labelled_data import check_channels
from keras_mae.trainers.prediction_files import PredictionFiles
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
) -> dict[str, Any]:
    """Writes the most likely classes of all images, in the order of the source, and a report if they have labels.

    Crop ratio, decoding and bit depth are those of the run, so probabilities are those of the exported classifier.
    Images that cannot be used have no row: `predictions_skipped.csv` lists them.

    Args:
        run_path: the folder of a run of fine-tuning or linear probing, or the `.keras` file of a classifier.
        data: a data specification, with labels or without, see `keras_mae.data.open_source`.
        output: the CSV file to write, see `PredictionFiles` for those beside it. Its columns are `name`; `label`, if
            there are any; `predicted` and `probability`; and `predicted_2`, `probability_2`, ... up to k.
        split: `"train"` or `"validation"`, as for `open_source`.
        k: the number of classes to write for each image, at most all.
        batch_size: images that are classified together.
        overwrite: replace the files that are there.
        as_served: makes the model that computes of the one that was trained, such as a copy in another dtype.

    Returns:
        `images` and `skipped`, their numbers, `written`, the paths of the files, and `report`, see
        `ClassificationReport.results`; None without labels that the run knows.

    Raises:
        ValueError: if there is no classifier, the images do not fit it, too many of them are corrupt, a probability
            is not finite, or the output is there.
    """
    files = PredictionFiles(output)
    files.check(overwrite)
    trained = find_model(run_path, run.MODEL)
    model = load_model_file(trained.path)
    if not isinstance(model, ImageClassifier):
        raise ValueError(
            f"{trained.path} holds {type(model).__name__}, and predictions need an ImageClassifier, which keras-mae "
            "finetune and linear-probe train"
        )
    names = classes_of(trained, model.num_classes)
    say_if_outside(trained, f"the crop ratio is {trained.crop_ratio}, and classes are numbers")
    source = open_source(data, split, trained.decoding)
    if split is None and source.validation_apart:
        _log.info("these are the images to train on; those to test on lie apart: --split=validation classifies them")
    read_as_trained(trained.seen.get("dtype"), trained.path, source)
    check_channels(source, model.encoder.image_shape[-1])
    _say_if_seen(trained, data, split)
    corrupt, labels = CorruptImages(source), ClassLabels(source, names, trained)
    report = ClassificationReport(names, source.num_images) if source.labelled else None
    for note in labels.before():
        _log.warning(note)
    with files.written(overwrite) as aside:
        batches = _batches(as_served(model), source, trained.crop_ratio, batch_size, corrupt)
        count = _write_predictions(aside.predictions, source, batches, labels, report, names, min(k, len(names)))
        skipped = sorted(corrupt.names)
        if skipped:
            _log.warning("%s: they have no row, and are listed in %s", corrupt.summary(), files.skipped)
            _write_rows(aside.skipped, [["name"], *([source.name_inside(index)] for index in skipped)])
        for note in labels.after():
            _log.warning(note)
        results = None
        if report is not None and report.num_images:
            results = report.results()
            results["notes"] += labels.before() + labels.after()
            about = {"run": trained.path, "data": data, "split": split, "images_skipped": len(skipped)}
            _write_report(aside, report, {**about, **results})
    return {"images": count, "skipped": len(skipped), "written": files.there(), "report": results}


def _write_predictions(
    path: str,
    source: Source,
    batches: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    labels: ClassLabels,
    report: ClassificationReport | None,
    names: list[str],
    k: int,
) -> int:
    """Writes a row for each image of `_batches`, and adds it to the report; returns the number of images."""
    count = 0
    heads = ["predicted", "probability", *(f"{what}_{n}" for n in range(2, k + 1) for what in _COLUMNS)]
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["name", *(["label"] if source.labelled else []), *heads])
        for indices, numbers, probabilities, ranked in batches:
            known = np.array([labels.of(number) for number in numbers.tolist()], "int64")
            if report is not None:
                report.add(known[known >= 0], probabilities[known >= 0], ranked[known >= 0])
            for row, index in enumerate(indices.tolist()):
                label = [labels.shown(int(numbers[row]))] if source.labelled else []
                best = [(names[c], f"{probabilities[row, c]:.6g}") for c in ranked[row, :k].tolist()]
                table.writerow([source.name_inside(index), *label, *(value for pair in best for value in pair)])
            count += len(indices)
    return count


def _write_report(aside: PredictionFiles, report: ClassificationReport, contents: dict[str, Any]) -> None:
    names = report.class_names
    with open(aside.report, "w", encoding="utf-8") as file:
        file.write(json.dumps(contents, indent=2) + "\n")
    rows = ([name, *map(str, row)] for name, row in zip(names, report.confusions.tolist(), strict=True))
    _write_rows(aside.confusions, [["true class", *names], *rows])
    confusion_picture(report.confusions, names).save(aside.picture, optimize=True)


_COLUMNS = ("predicted", "probability")


def _batches(
    model: ImageClassifier, source: Source, crop_ratio: float, batch_size: int, corrupt: CorruptImages
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yields, for the images of a batch, indices, labels, probabilities `(n, K)`, and the most likely classes."""
    dataset = evaluation_dataset(
        _Numbered(source), model.encoder.image_shape, min(batch_size, source.num_images), crop_ratio, corrupt,
        with_labels=True,
    )  # fmt: skip

    def classified(images):
        logits = tf.cast(model(images, training=False), tf.float32)
        # by logits: probabilities of two classes may both round to 1 or 0
        return tf.nn.softmax(logits), tf.math.top_k(logits, model.num_classes).indices

    # the last batch is smaller, and traces nothing new
    classify = tf.function(classified, input_signature=[dataset.element_spec[0]]).get_concrete_function()
    bar: tqdm | None = None
    try:
        with storage_errors():
            for images, numbers in dataset:
                indices, labels = numbers.numpy().T
                probabilities, ranked = (value.numpy() for value in classify(images))
                _check_finite(source, indices, probabilities)
                yield indices, labels, probabilities, ranked
                corrupt.check()
                if bar is None:  # tracing and the first batch would distort the rate
                    bar = images_bar(source.num_images, len(indices), "predicted")
                else:
                    bar.update(len(indices))
        corrupt.check()
    finally:
        if bar is not None:
            bar.close()


def _check_finite(source: Source, indices: np.ndarray, probabilities: np.ndarray) -> None:
    broken = indices[~np.isfinite(probabilities).all(axis=1)]
    if len(broken):
        raise ValueError(
            f"the classifier's probabilities of {source.name_of(int(broken[0]))}, and of {len(broken) - 1} more images "
            "beside it, are not finite: its weights hold NaN, or its dtype policy does not hold its activations"
        )


class _Numbered(Subset):
    """All images of a source; the field `label` holds index and label of the image, int64 `(2,)`."""

    def __init__(self, source: Source) -> None:
        super().__init__(source, np.arange(source.num_images))

    @property
    def labelled(self) -> bool:
        return True

    def read(self, index) -> dict[str, tf.Tensor]:
        example = self.source.read(index)
        return {**example, "label": tf.stack([tf.cast(index, tf.int64), example["label"]], axis=-1)}


def _say_if_seen(trained: TrainedModel, data: str, split: str | None) -> None:
    """Warns of images that the classifier was trained on."""
    if trained.data is None or absolute(data) != absolute(trained.data) or split == "validation":
        return
    validation = getattr(getattr(trained.config, "data", None), "validation_data", None)
    others = "--split=validation" if validation is None else f"--data={validation}"
    _log.warning(
        "the classifier was trained on %s: how well it does on them says little about others; it was tested on %s",
        "these images" if split else "these images, or most of them", others,
    )  # fmt: skip


def _write_rows(path: str, rows: list[list[str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
