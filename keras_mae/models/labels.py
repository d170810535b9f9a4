"""Labels of a classifier in the forms in which data have them, and what is no label."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

_FORMS = "integers of shape (N,) or (N, 1), or one probability a class, shape (N, {classes})"
_TOLERANCE = 0.01  # of the sum of probabilities, which bfloat16 knows to 0.4 %


def class_probabilities(labels, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels as probabilities of the classes, and which of them are labels.

    Args:
        labels: `(B,)` or `(B, 1)`, the numbers of classes, of any integer type or as floats; or `(B, num_classes)`,
            one-hot or probabilities that sum to 1.
        num_classes: `K`, at least 2.

    Returns:
        Float32 `(B, K)`, and bool `(B,)`: rows that are no labels are NaN.

    Raises:
        ValueError: for another shape or type; and for values that are no labels, where there are values to see:
            neither while a graph is made nor in it.
    """
    shape, dtype = _form(labels)
    _check_form(shape, dtype, num_classes)
    labels = tf.convert_to_tensor(labels)
    if tf.executing_eagerly():
        check_labels(labels, num_classes)
    if len(shape) == 2 and shape[1] == num_classes:
        shares = tf.cast(labels, tf.float32)
        fine = tf.reduce_all(shares >= 0, axis=1) & (tf.abs(tf.reduce_sum(shares, axis=1) - 1) <= _TOLERANCE)
    else:
        labels = tf.reshape(labels, [-1])
        numbers = tf.cast(labels, tf.int64)
        fine = (numbers >= 0) & (numbers < num_classes) & tf.equal(tf.cast(numbers, labels.dtype), labels)
        shares = tf.one_hot(tf.where(fine, numbers, 0), num_classes)
    return tf.where(fine[:, None], shares, float("nan")), fine


def check_labels(labels, num_classes: int) -> None:
    """Looks at labels in an array, before anything is done with them.

    Args:
        labels: None, or an array of any kind.
        num_classes: `K`.

    Raises:
        ValueError: for another shape or type than `class_probabilities` takes, or values that are no labels.
    """
    if labels is None:
        return
    _check_form(*_form(labels), num_classes)
    values = np.asarray(labels).astype("float64")
    if not values.size:
        return
    if values.ndim == 2 and values.shape[1] == num_classes:
        sums = values.sum(axis=1)
        bad = ~((values >= 0).all(axis=1) & (np.abs(sums - 1) <= _TOLERANCE))  # NaN compares as False
        if bad.any():
            raise ValueError(
                f"probabilities of {num_classes} classes are not negative and sum to 1; got "
                f"{np.round(values[bad][0], 4).tolist()} for example {int(np.argmax(bad))}, and {bad.sum()} such of "
                f"{len(values)}"
            )
        return
    whole = values == np.floor(values)
    if not whole.all() or values.min() < 0 or values.max() >= num_classes:
        got = f"got {values.min():g} to {values.max():g}" if whole.all() else f"got {values[~whole].flat[0]:g}"
        raise ValueError(
            f"labels of {num_classes} classes are integers from 0 to {num_classes - 1}; {got}: make the classifier "
            "with as many classes as the data have, and count them from 0"
        )


def fault_of_labels(num_classes: int) -> str:
    """The sentence for labels that only a compiled step has seen; `{count}` stays open."""
    return (
        f"{{count}} labels of the data are none: labels of {num_classes} classes are integers from 0 to "
        f"{num_classes - 1}, or {num_classes} probabilities that sum to 1; make the classifier with as many classes as "
        "the data have, and count them from 0"
    )


def weight_each_example(sample_weight, batch_size: int | None) -> tf.Tensor:
    """Weights of shape `(B,)` or `(B, 1)` as float32 `(B,)`.

    Raises:
        ValueError: for another shape or type.
    """
    sample_weight = tf.convert_to_tensor(sample_weight)
    shape = sample_weight.shape
    fits = shape.rank == 1 or (shape.rank == 2 and shape[1] == 1)
    if not fits or None not in (shape[0], batch_size) and shape[0] != batch_size or not _is_number(sample_weight.dtype):
        raise ValueError(
            f"sample_weight holds one number an example, shape ({_named(batch_size)},) or ({_named(batch_size)}, 1); "
            f"got {sample_weight.dtype.name} {shape}"
        )
    return tf.reshape(tf.cast(sample_weight, tf.float32), [-1])


def checked_class_weight(class_weight: Mapping[int, float], num_classes: int) -> dict[int, float]:
    """`class_weight` with a number for each class: 1 where none is given, as Keras has it.

    Raises:
        ValueError: for a class that there is not.
    """
    if not isinstance(class_weight, Mapping):
        raise ValueError(f"class_weight is a dict from classes to weights, {{0: 1.0, 1: 2.5}}; got {class_weight!r}")
    unknown = [label for label in class_weight if label not in range(num_classes)]
    if unknown:
        raise ValueError(
            f"class_weight has weights of classes 0 to {num_classes - 1}; got {', '.join(map(repr, unknown))}"
        )
    return {label: float(class_weight.get(label, 1.0)) for label in range(num_classes)}


def with_class_weights(data: tf.data.Dataset, class_weight: Mapping[int, float]) -> tf.data.Dataset:
    """`(x, y)` as `(x, y, sample_weight)`. What is no label weighs 1, and is found by the step.

    Keras' own way ends there with an error of an index.

    Raises:
        ValueError: if the data have weights already.
    """
    table = [class_weight[label] for label in range(len(class_weight))]

    def weigh(*example):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(example)
        if sample_weight is not None:
            raise ValueError("give class_weight to fit, or weights with the data, not both")
        shares, fine = class_probabilities(y, len(table))
        weights = tf.gather(table, tf.argmax(tf.where(fine[:, None], shares, 0.0), axis=-1))
        return x, y, tf.where(fine, weights, 1.0)

    return data.map(weigh, num_parallel_calls=tf.data.AUTOTUNE)


def _form(labels) -> tuple[tuple[int | None, ...] | None, str]:
    """Shape, None for an unknown rank, and the name of the type."""
    if isinstance(labels, (dict, list, tuple, tf.RaggedTensor, tf.SparseTensor)):
        raise ValueError(f"labels are one array or tensor, with a row for each image; got a {type(labels).__name__}")
    if not tf.is_tensor(labels):
        labels = np.asarray(labels)
    shape = labels.shape
    known = None if isinstance(shape, tf.TensorShape) and shape.rank is None else tuple(shape)
    return known, labels.dtype.name


def _check_form(shape: tuple[int | None, ...] | None, dtype: str, num_classes: int) -> None:
    forms = f"labels are {_FORMS.format(classes=num_classes)}"
    if shape is None or (len(shape) == 2 and shape[1] is None):
        raise ValueError(
            f"{forms}; the data do not say which: give them a shape, as by "
            f"data.map(lambda x, y: (x, tf.ensure_shape(y, (None, {num_classes}))))"
        )
    if len(shape) != 1 and not (len(shape) == 2 and shape[1] in (1, num_classes)):
        raise ValueError(f"{forms}; got the shape ({', '.join(map(_named, shape))}{',' * (len(shape) == 1)})")
    if not _is_number(dtype):
        raise ValueError(f"{forms}; got the type {dtype}")


def _is_number(dtype) -> bool:
    name = getattr(dtype, "name", dtype)
    return name.startswith(("int", "uint", "float", "bfloat16"))


def _named(size: int | None) -> str:
    return "N" if size is None else str(size)
