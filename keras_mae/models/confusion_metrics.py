"""Metrics of pixels from counts that are exact: how often a class was taken for another."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class ConfusionMetric(keras.metrics.Metric):
    """The base of metrics of a confusion matrix.

    The counts are int64: float32, which Keras' `MeanIoU` counts in, does not count beyond 2^24 pixels, 64 images of
    512 x 512.

    Args:
        num_classes: number of classes `K`.
        name: in the logs.

    Attributes:
        matrix: int64 `(K, K + 1)`, pixels by their label and their predicted class; the last column is for logits that
            are not finite.
    """

    def __init__(self, num_classes: int, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        self.matrix = self.add_variable((num_classes, num_classes + 1), "zeros", dtype="int64", name="matrix")

    def update_state(self, labels, logits, sample_weight=None) -> None:
        """Counts pixels.

        Args:
            labels: int32 `(B, H, W)`; pixels with a negative one are left out.
            logits: `(B, H, W, K)`.
            sample_weight: not used: each pixel counts once.
        """
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=-1)
        classes = tf.where(finite, tf.argmax(logits, axis=-1, output_type=tf.int32), self.num_classes)
        size = self.num_classes * (self.num_classes + 1)
        cells = tf.where(labels >= 0, labels * (self.num_classes + 1) + classes, size)
        cells = tf.reshape(cells, [-1])
        counts = tf.math.unsorted_segment_sum(tf.ones_like(cells), cells, size + 1)  # XLA has no bincount of this kind
        self.matrix.assign_add(tf.reshape(tf.cast(counts[:size], tf.int64), self.matrix.shape))

    def _counts(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """By class: pixels that are right, pixels of the class, and pixels taken for it; float64."""
        matrix = tf.cast(tf.convert_to_tensor(self.matrix), tf.float64)
        right = tf.linalg.diag_part(matrix[:, :-1])
        return right, tf.reduce_sum(matrix, axis=1), tf.reduce_sum(matrix[:, :-1], axis=0)

    def _known(self, value) -> tf.Tensor:
        """The value as float32, NaN if there were logits that are not finite."""
        broken = tf.reduce_sum(tf.convert_to_tensor(self.matrix)[:, -1]) > 0
        return tf.where(broken, float("nan"), tf.cast(value, tf.float32))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


class PixelAccuracy(ConfusionMetric):
    """The share of the labelled pixels whose class is right; NaN without any."""

    def __init__(self, num_classes: int, name: str = "accuracy", **kwargs: Any) -> None:
        super().__init__(num_classes, name, **kwargs)

    def result(self) -> tf.Tensor:
        right, labelled, _ = self._counts()
        return self._known(tf.reduce_sum(right) / tf.reduce_sum(labelled))


class MeanIoU(ConfusionMetric):
    """The mean, over the classes that occur, of intersection over union.

    `IoU_k = n_kk / (sum_j n_kj + sum_j n_jk - n_kk)`, of the counts over all images, not a mean over images. A class
    occurs if a pixel has it as label or was taken for it, as in Keras' and mmsegmentation's; NaN if none does.
    """

    def __init__(self, num_classes: int, name: str = "mean_iou", **kwargs: Any) -> None:
        super().__init__(num_classes, name, **kwargs)

    def per_class(self) -> tf.Tensor:
        """The intersection over union of each class, float64 `(K,)`, NaN for classes that do not occur."""
        right, labelled, taken = self._counts()
        return right / (labelled + taken - right)

    def result(self) -> tf.Tensor:
        each = self.per_class()
        occurs = tf.math.is_finite(each)
        total = tf.reduce_sum(tf.where(occurs, each, 0.0))
        return self._known(total / tf.reduce_sum(tf.cast(occurs, tf.float64)))
