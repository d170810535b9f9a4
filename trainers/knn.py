"""Evaluation by k nearest neighbours on frozen features, without training."""

from __future__ import annotations

import logging
import time

import numpy as np

from keras_mae.data.seen import Seen
from keras_mae.one_writer import released
from keras_mae.trainers import run
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.encoder_choice import load_encoder, published_encoder, record_of, run_of
from keras_mae.trainers.evaluation import knn_scores, majority_shares
from keras_mae.trainers.features import features_of
from keras_mae.trainers.first_weights import find_weights
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.labelled_data import check_channels, labelled_sources
from keras_mae.trainers.settings import replaced
from keras_mae.trainers.trained_model import TrainedModel, find_model, read_as_trained, say_if_outside

_log = logging.getLogger("keras_mae")


@released()
def knn(config: KnnConfig, data: str, output: str | None = None, overwrite: bool = False) -> dict:
    """Test accuracies by nearest neighbours, for several k.

    Args:
        config: the encoder, its features, and the neighbours.
        data: a data specification with labels, see `keras_mae.data.open_source`.
        output: None, or a run folder to write.
        overwrite: discard the run that is there.

    Returns:
        The contents of `results.json`: `top1` (and `top5`) for each k, the accuracy of always answering with the
        largest class or five (`majority_share`, `majority_share_top5`), numbers of images and classes. A class without
        a vote is not among an image's five.

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
    train, validation, num_classes = labelled.train, labelled.validation, labelled.num_classes
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
    scores = knn_scores(train_x, train_y, test_x, config.neighbours.k, num_classes, config.neighbours.temperature)
    matches = {k: _matches(votes, test_y) for k, votes in scores.items()}
    results = {
        "program": config.program,
        **{
            f"top{top}": {str(k): float(np.mean(match[:, :top].any(axis=1))) for k, match in matches.items()}
            for top in ((1, 5) if num_classes > 5 else (1,))
        },
        **majority_shares(test_y, num_classes),
        "num_classes": num_classes,
        "train_images": len(train_x),
        "validation_images": len(test_x),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    if folder is not None:
        folder.write_json(run.RESULTS, results)
    return results


def _matches(votes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the class with the most votes, with the second most, ... is the image's: bool `(M, K)`."""
    order = np.argsort(-votes, axis=1, kind="stable")
    return (order == labels[:, None]) & (np.take_along_axis(votes, order, axis=1) > 0)
