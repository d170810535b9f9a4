"""Evaluation by k nearest neighbours on frozen features, without training."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np

from keras_mae.data.seen import Seen
from keras_mae.data.source import CLASSES, LABELS
from keras_mae.one_writer import released
from keras_mae.trainers import run
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.encoder_choice import load_encoder, published_encoder, record_of, run_of
from keras_mae.trainers.evaluation import knn_scores, majority_shares
from keras_mae.trainers.features import features_of
from keras_mae.trainers.first_weights import find_weights
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.label_report import LabelReport
from keras_mae.trainers.labelled_data import check_channels, labelled_sources
from keras_mae.trainers.nearest import neighbour_means
from keras_mae.trainers.number_report import NumberReport
from keras_mae.trainers.settings import replaced
from keras_mae.trainers.trained_model import TrainedModel, find_model, read_as_trained, say_if_outside

_log = logging.getLogger("keras_mae")


@released()
def knn(config: KnnConfig, data: str, output: str | None = None, overwrite: bool = False) -> dict:
    """Accuracies, AUC or errors by nearest neighbours, for several k.

    Args:
        config: the encoder, its features, and the neighbours.
        data: a data specification with labels, see `keras_mae.data.open_source`.
        output: None, or a run folder to write.
        overwrite: discard the run that is there.

    Returns:
        The contents of `results.json`. Of classes: `top1` (and `top5`) for each k, the accuracy of always answering
        with the largest class or five (`majority_share`, `majority_share_top5`), numbers of images and classes. A class
        without a vote is not among an image's five. Of several labels: `auc` and `average_precision` of the shares of
        votes for each k, and of each label. Of numbers: `mae`, `rmse` and `r2` of the neighbours' weighted mean, for
        each k and output, and of the mean of all (`mae_of_mean`, `rmse_of_mean`).

    Raises:
        ValueError: for bad data, no encoder, a k larger than the number of images, or an output that is taken.
    """
    own = config.encoder
    if own.run is None and own.init is None:
        raise ValueError(
            "kNN measures an encoder: name one with --run, the folder of a run or a .keras file, or with --init, "
            "published weights too"
        )
    check_together(config)
    folder = None if output is None else run.RunFolder(output)
    if folder is not None:
        folder.claim()
    begin = time.perf_counter()
    path = run_of(own)
    weights = find_weights(own) if path is None else None
    trained = TrainedModel(own.init or "") if path is None else find_model(path)
    decoding = trained.decoding
    of_run = {
        "crop_ratio": trained.crop_ratio, "background": decoding.background, "max_megapixels": decoding.max_pixels / 1e6
    }  # fmt: skip
    taken = {name: value for name, value in of_run.items() if getattr(config.data, name) is None}
    if taken:
        shown = " ".join(f"--set {name}={value}" for name, value in taken.items())
        say_if_outside(trained, f"these settings are taken: {shown}")
        config = replaced(config, **taken)
    labelled = labelled_sources(config, data)
    train, validation = labelled.train, labelled.validation
    read_as_trained(trained.seen.get("dtype"), trained.path, train, validation)
    init = record_of(own)
    if weights is None:
        encoder = load_encoder(path or "")
    else:
        encoder, init = published_encoder(own, weights, train)
    for each in (train, validation):
        check_channels(each, encoder.image_shape[-1])
    if folder is not None:
        folder.start(config, data, False, overwrite, Seen(train, validation), init=init)
    _log.info("features of %d and %d images", train.num_images, validation.num_images)
    at_once, crop_ratio = config.run.batch_size, config.data.crop_ratio or trained.crop_ratio
    (train_x, train_y), (test_x, test_y) = (
        features_of(encoder, each, own.pooling, crop_ratio, at_once, own.layer) for each in (train, validation)
    )
    near = config.neighbours
    if labelled.task == CLASSES:
        scores = knn_scores(train_x, train_y, test_x, near.k, labelled.num_classes, near.temperature)
        measures = _of_classes(scores, test_y, labelled.num_classes)
    else:
        means = neighbour_means(train_x, train_y, test_x, near.k, near.temperature)
        measures = {
            "task": labelled.task,
            **(
                _of_labels(means, test_y, labelled.names)
                if labelled.task == LABELS
                else _of_numbers(means, test_y, labelled.names, train_y)
            ),
        }
    results = {
        "program": config.program,
        **measures,
        "train_images": len(train_x),
        "validation_images": len(test_x),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    if folder is not None:
        folder.write_json(run.RESULTS, results)
    return results


def _of_classes(scores: dict[int, np.ndarray], labels: np.ndarray, num_classes: int) -> dict[str, Any]:
    matches = {k: _matches(votes, labels) for k, votes in scores.items()}
    return {
        **{
            f"top{top}": {str(k): float(np.mean(match[:, :top].any(axis=1))) for k, match in matches.items()}
            for top in ((1, 5) if num_classes > 5 else (1,))
        },
        **majority_shares(labels, num_classes),
        "num_classes": num_classes,
    }


def _of_labels(shares: dict[int, np.ndarray], labels: np.ndarray, names: list[str]) -> dict[str, Any]:
    """AUC and average precision of the shares of votes for each label, and their means over the labels."""
    reports = {str(k): _report(LabelReport(names), labels, share) for k, share in shares.items()}
    each = {k: report.pop("per_label") for k, report in reports.items()}
    keys = ("auc", "average_precision")
    return {
        **{key: {k: report[key] for k, report in reports.items()} for key in keys},
        "per_label": {
            name: {
                "positives": int(labels[:, number].sum()),
                **{key: {k: rows[number][key] for k, rows in each.items()} for key in keys},
            }
            for number, name in enumerate(names)
        },
    }


def _of_numbers(
    means: dict[int, np.ndarray], labels: np.ndarray, names: list[str], trained: np.ndarray
) -> dict[str, Any]:
    """Errors of the neighbours' means for each output, and those of always answering the mean of all neighbours."""
    average = np.asarray(trained, "float64").mean(axis=0).tolist()
    each = {str(k): _report(NumberReport(names, average), labels, mean)["per_output"] for k, mean in means.items()}
    first = next(iter(each.values()))
    return {
        **{
            key: {k: {one["output"]: one[key] for one in rows} for k, rows in each.items()}
            for key in ("mae", "rmse", "r2")
        },
        **{key: {one["output"]: one[key] for one in first} for key in ("mae_of_mean", "rmse_of_mean")},
    }


def _report(report: LabelReport | NumberReport, labels: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
    report.add(labels, answers)
    return report.results()


def _matches(votes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the class with the most votes, with the second most, ... is the image's: bool `(M, K)`."""
    order = np.argsort(-votes, axis=1, kind="stable")
    return (order == labels[:, None]) & (np.take_along_axis(votes, order, axis=1) > 0)
