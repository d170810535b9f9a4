"""The quality of features by labels: nearest neighbours, and a linear probe in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from keras_mae.data import CorruptImages
from keras_mae.data.source import CLASSES, LABELS
from keras_mae.encoders import Encoder
from keras_mae.encoders.finite import check_finite
from keras_mae.trainers.curves import mean_area
from keras_mae.trainers.evaluation import knn_scores, majority_share
from keras_mae.trainers.features import Features, encoded_beside_training, labelled_batches
from keras_mae.trainers.labelled_data import LabelledSources
from keras_mae.trainers.nearest import neighbour_means
from keras_mae.trainers.quality_ridge import ridge

_K, _TEMPERATURE = 20, 0.07
_ENDING = {CLASSES: "", LABELS: "_auc", "numbers": "_r2"}


class LabelledQuality:
    """Measures an encoder's features, the mean of the patch tokens, by labelled images.

    `knn` is the vote of the 20 nearest neighbours by cosine, as in `keras-mae knn`, and `ridge` that of a ridge
    regression on standardised features and one-hot targets: accuracies. Of several labels they are mean areas under
    the ROC curves, `knn_auc` and `ridge_auc`, of numbers means of R^2, `knn_r2` and `ridge_r2`.

    Args:
        encoder: whose present weights each call takes.
        labelled: the images.
        crop_ratio: of the evaluation transform.

    Attributes:
        names: of the measures.
        encoded: the number of images that a call encodes.
        corrupt: the accounts of corrupt images, which are left out.
    """

    def __init__(self, encoder: Encoder, labelled: LabelledSources, crop_ratio: float) -> None:
        self._encoder, self._labelled = encoder, labelled
        self.names = [f"{name}{_ENDING[labelled.task]}" for name in ("knn", "ridge")]
        sources = (labelled.train, labelled.validation)
        self.encoded = sum(each.num_images for each in sources)
        self.corrupt = [CorruptImages(each, tolerated=1.0) for each in sources]
        together = encoded_beside_training(encoder)
        self._features = Features(encoder)
        self._batches = [
            labelled_batches(encoder, each, crop_ratio, corrupt, together)
            for each, corrupt in zip(sources, self.corrupt, strict=True)
        ]

    def __call__(self) -> dict[str, float]:
        """The measures; NaN where the images that can be decoded do not determine one.

        Raises:
            ValueError: if features are not finite.
        """
        (train_x, train_y), (test_x, test_y) = map(self._features, self._batches)
        if len(train_x) < 2 or not len(test_x):
            return dict.fromkeys(self.names, math.nan)
        check_finite(np.concatenate([train_x, test_x]), self._encoder.dtype_policy.name)
        k, task = min(_K, len(train_x)), self._labelled.task
        if task == CLASSES:
            there, train_y = np.unique(train_y, return_inverse=True)  # a set may number a million classes
            votes = knn_scores(train_x, train_y, test_x, [k], len(there), _TEMPERATURE)[k]
            answers = (votes, ridge(train_x, np.eye(len(there))[train_y], test_x)[0])
            measured = [float(np.mean(there[each.argmax(axis=1)] == test_y)) for each in answers]
        else:
            scale = np.ones(train_y.shape[1]) if task == LABELS else train_y.std(axis=0, dtype="float64")
            scale[scale == 0] = 1.0  # each number counts alike in the choice of the penalty
            means = neighbour_means(train_x, train_y, test_x, [k], _TEMPERATURE)[k]
            answers = (means, ridge(train_x, train_y / scale, test_x)[0] * scale)
            of: Callable[..., float] = _area if task == LABELS else _r2
            measured = [of(each, test_y) for each in answers]
        return dict(zip(self.names, measured, strict=True))

    def described(self) -> str:
        """The images, for the log."""
        own = self._labelled
        trained, tested = own.train, own.validation
        number = len(np.unique(trained.required_labels())) if own.task == CLASSES else own.num_outputs
        names = own.task.removesuffix("s" if number == 1 else "")  # one class is refused
        share = ""
        if own.task == CLASSES:
            share = f", {100 * majority_share(tested.required_labels()):.1f} % of them of the largest class"
        return (
            f"kNN and a ridge probe on {trained.num_images} images of {number} {names}, tested on "
            f"{tested.num_images}{share}"
        )

    def counts(self) -> dict[str, int]:
        """Numbers of images, for `results.json`."""
        own = self._labelled
        return {"train_images": own.train.num_images, "validation_images": own.validation.num_images}


def _area(scores: np.ndarray, labels: np.ndarray) -> float:
    area = mean_area(scores, labels > 0.5)
    return math.nan if area is None else area


def _r2(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The mean of R^2 over the numbers that vary."""
    truth = np.asarray(labels, "float64")
    spread, errors = np.sum((truth - truth.mean(axis=0)) ** 2, axis=0), np.sum((predictions - truth) ** 2, axis=0)
    known = spread > 0
    return float(np.mean(1 - errors[known] / spread[known])) if known.any() else math.nan
