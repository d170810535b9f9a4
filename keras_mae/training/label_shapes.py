"""Labels beside predictions: their shapes, and what stands in place of invalid ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

_OVERLAPS = ("dice", "tversky")
_OF_CLASSES = ("sparse", "crossentropy", "circle")  # in names of losses that may take numbers of classes


def examples_like(labels: Any) -> Any:
    """Labels of one example, zeros, of the shapes and types of arrays or specifications; None for unknown shapes."""
    specs = tf.nest.map_structure(lambda each: each if hasattr(each, "shape") else np.asarray(each), labels)
    shapes = [tf.TensorShape(spec.shape) for spec in tf.nest.flatten(specs)]
    if any(not shape.rank for shape in shapes):
        return None
    return tf.nest.map_structure(
        lambda spec: tf.zeros([1, *(size or 1 for size in tuple(spec.shape)[1:])], spec.dtype), specs
    )


def without_invalid(labels: Any, fine) -> Any:
    """The labels, with 0 in place of those that are not valid: on a processor, TensorFlow's kernels fail at these."""
    labels = tf.nest.map_structure(tf.convert_to_tensor, labels)
    if fine.shape.rank == 0:
        return labels

    def kept(each) -> tf.Tensor:
        shape = tf.concat([tf.shape(fine), tf.ones([tf.rank(each) - 1], tf.int32)], axis=0)
        return tf.where(tf.reshape(fine, shape), each, tf.zeros_like(each))

    return tf.nest.map_structure(kept, labels)


def check_shapes(labels, predictions=None, loss: str = "") -> None:
    """Refuses labels of unknown rank, and a column of labels that a loss would compare with several predictions."""
    if labels.shape.rank is None:
        raise ValueError(
            "the labels have another shape than in an earlier call: give all calls the same shape, or compile again"
        )
    if predictions is None or not loss or any(kind in loss.lower() for kind in _OF_CLASSES):
        return
    last = predictions.shape[-1] if predictions.shape.rank else None
    column = labels.shape.rank == predictions.shape.rank and labels.shape.rank and labels.shape[-1] == 1
    if last not in (None, 1) and (column or labels.shape.rank == predictions.shape.rank - 1):
        raise ValueError(
            f"loss={loss!r} would compare one label with each of {last} predictions: give as many "
            "labels, such as one-hot ones, or a loss for numbers of classes"
        )


def of_one_rank(labels, predictions) -> tuple[Any, Any]:
    """Adds or removes the last axis of labels, or of predictions, if it is of size 1 and the ranks differ by it."""
    more = labels.shape.rank - predictions.shape.rank
    if more == 1 and labels.shape[-1] == 1:
        return (labels, predictions[..., None]) if predictions.shape.rank == 1 else (labels[..., 0], predictions)
    if more == -1 and predictions.shape[-1] == 1:
        return (labels[..., None], predictions) if labels.shape.rank == 1 else (labels, predictions[..., 0])
    return labels, predictions


def forms(labels, predictions) -> tuple[bool, bool]:
    """Whether predictions are one number each, and whether labels are numbers of classes; as Keras tells them."""
    last = predictions.shape[-1]
    lower = labels.shape.rank < predictions.shape.rank
    return last == 1, lower or (labels.shape[-1] == 1 and last > 1)


def of_counted(labels, predictions, weights, counted, loss: str = "") -> tuple[Any, Any, Any]:
    """Labels, predictions and weights in which those labels that do not count weigh nothing.

    Args:
        labels: numbers of classes, `(B, ...)` or `(B, ..., 1)`.
        predictions: `(B, ..., K)`.
        weights: None, or weights of examples, `(B,)`, or of labels, `(B, ...)`.
        counted: bool, of the shape of `labels`.
        loss: the name of a loss; one of those that compare shares gets one-hot labels.
    """
    if labels.shape.rank == predictions.shape.rank:
        labels, counted = labels[..., 0], counted[..., 0]
    mask = tf.cast(counted, tf.float32)
    if weights is not None:
        weights = tf.convert_to_tensor(weights)
        mask *= tf.reshape(weights, [*tf.unstack(tf.shape(weights)), *[1] * (mask.shape.rank - weights.shape.rank)])
    name = loss.lower()
    if name in _OVERLAPS or (name.startswith("categorical") and not name.startswith("categoricalhinge")):
        labels = tf.one_hot(labels, predictions.shape[-1])  # zeros for labels that do not count
        if name in _OVERLAPS:  # of whole batches or images, without weights
            return labels, predictions * tf.cast(counted, tf.float32)[..., None], None
        return labels, predictions, mask
    return tf.where(counted, labels, tf.zeros_like(labels)), predictions, mask
