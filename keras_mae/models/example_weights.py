"""Weights of examples and classes, and their checks."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from keras_mae.models.labels import as_text, class_probabilities, form_of, is_number


def check_weights(sample_weight, labels=None) -> None:
    """Checks `sample_weight`: an array, or the shape and type of a symbolic tensor or a specification.

    Args:
        sample_weight: None, weights, or for a model with several outputs a dict of weights.
        labels: of the examples; where these are of pixels, `(N, H, W)`, weights may be of pixels, too.

    Raises:
        ValueError: if it is not one number an example, `(N,)` or `(N, 1)`, nor one a pixel, or a number is negative or
            not finite.
    """
    if sample_weight is None:
        return
    if isinstance(sample_weight, Mapping):
        for each in sample_weight.values():
            check_weights(each)
        return
    shape, dtype = form_of(sample_weight)
    rank = None if labels is None or isinstance(labels, Mapping) else len(form_of(labels)[0] or ())
    fits = shape is None or len(shape) == 1 or (len(shape) == 2 and shape[1] in (None, 1))
    fits = fits or (rank is not None and rank >= 3 and shape is not None and len(shape) == 3)
    if not fits or not is_number(dtype):
        named = "of unknown shape" if shape is None else as_text(shape)
        raise ValueError(f"sample_weight holds one number an example, shape (N,) or (N, 1); got {dtype} {named}")
    if isinstance(sample_weight, tf.TensorSpec) or tf.is_symbolic_tensor(sample_weight):
        return
    values = np.asarray(sample_weight).astype("float64").reshape(-1)
    bad = ~((values >= 0) & np.isfinite(values))  # NaN compares as False
    if bad.any():
        raise ValueError(
            f"sample_weight holds finite numbers of at least 0; got {values[bad][0]:g} for example {bad.argmax()}, and "
            f"{bad.sum()} such of {len(values)}"
        )


def not_negative(sample_weight, labels) -> tf.Tensor | dict[str, tf.Tensor]:
    """Weights as float32, NaN where one is negative; those of examples as `(B,)`, those of pixels as they are."""
    if isinstance(sample_weight, Mapping):
        return {name: not_negative(each, None) for name, each in sample_weight.items()}
    if tf.convert_to_tensor(sample_weight).shape.rank is None and getattr(labels, "shape", None) is not None:
        if labels.shape.rank is None or labels.shape.rank > 2:
            raise ValueError(
                "sample_weight has another shape than in an earlier call, (N,) or (N, H, W): give all calls weights of "
                "one shape, or compile again"
            )
    weights = tf.cast(tf.convert_to_tensor(sample_weight), tf.float32)
    weights = tf.reshape(weights, [-1]) if weights.shape.rank in (None, 1, 2) else weights
    return tf.where(weights >= 0, weights, float("nan"))


def weigh(losses, weights) -> tf.Tensor:
    """Losses `(B, ...)` times their weights, `(B,)` or of the losses' shape."""
    return losses * tf.reshape(
        weights, [*tf.unstack(tf.shape(weights)), *[1] * (losses.shape.rank - weights.shape.rank)]
    )


def checked_class_weight(class_weight: Mapping[int, float], num_classes: int) -> dict[int, float]:
    """`class_weight` with a weight for each class, 1 by default as in Keras; a ValueError for other classes."""
    if not isinstance(class_weight, Mapping):
        raise ValueError(f"class_weight is a dict from classes to weights, {{0: 1.0, 1: 2.5}}; got {class_weight!r}")
    unknown = [label for label in class_weight if label not in range(num_classes)]
    if unknown:
        raise ValueError(
            f"class_weight has weights of classes 0 to {num_classes - 1}; got {', '.join(map(repr, unknown))}"
        )
    weights = {label: float(class_weight.get(label, 1.0)) for label in range(num_classes)}
    for label, weight in weights.items():
        if not (weight >= 0 and np.isfinite(weight)):
            raise ValueError(f"class_weight has finite weights of at least 0; got {weight:g} for class {label}")
    return weights


def with_class_weights(data: tf.data.Dataset, class_weight: Mapping[int, float]) -> tf.data.Dataset:
    """`(x, y)` as `(x, y, sample_weight)`; a ValueError if the data have weights already.

    Invalid labels weigh 1, and the step reports them; Keras' own way fails there with an index error.
    """
    table = [class_weight[label] for label in range(len(class_weight))]

    def weigh(*example):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(example)
        if sample_weight is not None:
            raise ValueError("give class_weight to fit, or weights with the data, not both")
        batch_size = tf.shape(keras.tree.flatten(x)[0])[0]
        shares, fine = class_probabilities(y, len(table), batch_size)
        weights = tf.gather(table, tf.argmax(tf.where(fine[:, None], shares, 0.0), axis=-1))
        return x, y, tf.where(fine, weights, 1.0)

    return data.map(weigh, num_parallel_calls=tf.data.AUTOTUNE)
