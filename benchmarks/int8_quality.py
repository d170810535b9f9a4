"""What an encoder in 8 bits loses: the cosine of its embeddings to float32's, and kNN accuracy, after training.

    python -m benchmarks.int8_quality

It pretrains two small encoders, one on crops of the photographs that scikit-learn and scikit-image bring along and one
on digits by the recipe of `keras-mae demo`. It calibrates on 128 of the training images, and prints one JSON object
each. Embeddings are those of the images for the test.
"""

from __future__ import annotations

import json
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import labelled_crops, photograph_run
from keras_mae.data.sources import digits_source
from keras_mae.export import int8
from keras_mae.trainers import evaluation, recipes
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.pretrain import pretrain
from keras_mae.trainers.settings import changed

_CALIBRATED_ON, _BATCH, _NEIGHBOURS, _SEED = 128, 200, 20, 0


def of_digits() -> str:
    """A JSON object for the recipe of `keras-mae demo`."""
    train, test = digits_source("train"), digits_source("test")
    config = changed(recipes.load("mae_digits", PretrainConfig), ["evaluate_every=0"])
    with tempfile.TemporaryDirectory() as folder:
        encoder = pretrain(config, "digits", folder, overwrite=True).encoder
    return line("digits", encoder, (train.images, train.required_labels()), (test.images, test.required_labels()))


def of_photographs() -> str:
    """A JSON object for crops of photographs."""
    crops = photograph_run.Crops.of(labelled_crops.photographs(), _SEED, labelled_crops.SIDE)
    pretraining = photograph_run.Pretraining(photograph_run.recipe())
    pretraining(crops, _SEED)
    return line("crops of photographs", pretraining.model.encoder, crops.train, crops.test)


def line(name: str, encoder: Any, train: tuple[Any, Any], test: tuple[Any, Any]) -> str:
    """A JSON object for an encoder; images and labels to search in, of which some calibrate, and to search for."""
    chosen = np.random.default_rng(_SEED).permutation(len(train[0]))[: int8.HELD_OUT + _CALIBRATED_ON]
    copy = int8.int8_copy(encoder, train[0][np.sort(chosen)])
    embeddings, accuracies = {}, {}
    for dtype, model in (("float32", encoder), ("int8", copy)):
        embeddings[dtype] = _embedded(model, test[0])
        of = (_embedded(model, train[0]), train[1], embeddings[dtype], test[1])
        accuracies[dtype] = round(100 * evaluation.knn_accuracy(*of, _NEIGHBOURS), 2)
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in embeddings.values())
    cosines = np.sort((one * other).sum(axis=1))
    of = {"mean": cosines.mean(), "of_1_in_100": np.quantile(cosines, 0.01), "least": cosines[0]}
    said = {key: round(float(value), 5) for key, value in of.items()}
    return json.dumps({"images": name, "tested": len(test[0]), "cosine": said, "knn": accuracies})


def _embedded(encoder: Any, images: np.ndarray) -> np.ndarray:
    embed = tf.function(lambda batch: encoder.features(batch, "mean"))
    return np.concatenate(
        [embed(tf.constant(images[at : at + _BATCH])).numpy() for at in range(0, len(images), _BATCH)]
    )


if __name__ == "__main__":
    print(of_photographs(), flush=True)
    print(of_digits(), flush=True)
