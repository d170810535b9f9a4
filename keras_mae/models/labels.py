"""Labels of a classifier in all accepted forms, and checks of labels and weights."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

_FORMS = "integers of shape (N,) or (N, 1), or one probability a class, shape (N, {classes})"
_TOLERANCE = 0.01  # of the sum of probabilities; bfloat16 is exact to 0.4 %


def class_probabilities(labels, num_classes: int, batch_size) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels as probabilities of the classes, and whether each is valid.

    Args:
        labels: `(B,)` or `(B, 1)`, the numbers of classes, of any integer type or as floats; or `(B, num_classes)`,
            one-hot or probabilities that sum to 1.
        num_classes: `K`, at least 2.
        batch_size: `B`, an integer scalar.

    Returns:
        Float32 `(B, K)`, NaN in rows of invalid labels, and bool `(B,)`, whether the label is valid.

    Raises:
        ValueError: for another shape or type, as far as a traced graph knows it; and eagerly for invalid values.
    """
    shape, dtype = _form(labels)
    _check_form(shape, dtype, num_classes)
    labels = tf.convert_to_tensor(labels)
    if tf.executing_eagerly():
        check_labels(labels, num_classes)
    columns = tf.reshape(labels, [batch_size, -1])
    if shape is None or len(shape) == 2 and shape[1] is None:  # a step that was traced for several forms
        width = tf.shape(columns)[1]
        padded = tf.pad(columns[:, :num_classes], [[0, 0], [0, tf.maximum(num_classes - width, 0)]])
        of_numbers, of_shares = _from_numbers(columns[:, 0], num_classes), _from_shares(padded)
        shares = tf.where(width == 1, of_numbers[0], of_shares[0])
        fine = tf.where(width == 1, of_numbers[1], of_shares[1] & (width == num_classes)) & (tf.rank(labels) <= 2)
    elif len(shape) == 2 and shape[1] == num_classes:
        shares, fine = _from_shares(columns)
    else:
        shares, fine = _from_numbers(columns[:, 0], num_classes)
    return tf.where(fine[:, None], shares, float("nan")), fine


def _from_numbers(numbers, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    whole = tf.cast(numbers, tf.int64)
    fine = (whole >= 0) & (whole < num_classes) & tf.equal(tf.cast(whole, numbers.dtype), numbers)
    return tf.one_hot(tf.where(fine, whole, 0), num_classes), fine


def _from_shares(shares) -> tuple[tf.Tensor, tf.Tensor]:
    shares = tf.cast(shares, tf.float32)
    one = tf.abs(tf.reduce_sum(shares, axis=1) - 1) <= _TOLERANCE
    return shares, tf.reduce_all(shares >= 0, axis=1) & one


def check_labels(labels, num_classes: int) -> None:
    """Checks labels: None, an array of any kind, or the specification of a data set's labels.

    Raises:
        ValueError: for a shape, type or values that `class_probabilities` does not take.
    """
    if labels is None:
        return
    _check_form(*_form(labels), num_classes)
    if isinstance(labels, tf.TensorSpec):
        return
    values = np.asarray(labels).astype("float64")
    if not values.size:
        return
    if values.ndim == 2 and values.shape[1] == num_classes:
        bad = ~((values >= 0).all(axis=1) & (np.abs(values.sum(axis=1) - 1) <= _TOLERANCE))  # NaN compares as False
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
    """The sentence for invalid labels that a compiled step has counted, with a place for `{count}`."""
    return (
        f"{{count}} labels of the data are none: labels of {num_classes} classes are integers from 0 to "
        f"{num_classes - 1}, or {num_classes} probabilities that sum to 1, for each image; make the classifier with as "
        "many classes as the data have, and count them from 0"
    )


def check_weights(sample_weight) -> None:
    """Checks `sample_weight`: an array, or the shape and type of a symbolic tensor or a specification.

    Raises:
        ValueError: if it is not one number an example, `(N,)` or `(N, 1)`, or a number is negative or not finite.
    """
    if sample_weight is None:
        return
    shape, dtype = _form(sample_weight)
    fits = shape is None or len(shape) == 1 or (len(shape) == 2 and shape[1] in (None, 1))
    if not fits or not _is_number(dtype):
        named = "of unknown shape" if shape is None else _text(shape)
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


def weigh(losses, sample_weight) -> tf.Tensor:
    """Losses `(B,)` times their weights, `(B,)` or `(B, 1)`; NaN where a weight is negative.

    Raises:
        ValueError: for weights of another shape or type, and eagerly for negative ones.
    """
    check_weights(sample_weight)
    weights = tf.reshape(tf.cast(tf.convert_to_tensor(sample_weight), tf.float32), tf.shape(losses))
    return losses * tf.where(weights >= 0, weights, float("nan"))


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


def _form(labels) -> tuple[tuple[int | None, ...] | None, str]:
    """Shape, None for an unknown rank, and name of the dtype."""
    if isinstance(labels, (dict, list, tuple, tf.RaggedTensor, tf.SparseTensor)):
        raise ValueError(f"labels are one array or tensor, with a row for each image; got a {type(labels).__name__}")
    if not tf.is_tensor(labels) and not isinstance(labels, tf.TensorSpec):
        labels = np.asarray(labels)
    return None if getattr(labels.shape, "rank", 0) is None else tuple(labels.shape), labels.dtype.name


def _check_form(shape: tuple[int | None, ...] | None, dtype: str, num_classes: int) -> None:
    forms = f"labels are {_FORMS.format(classes=num_classes)}"
    if shape is not None and len(shape) != 1 and not (len(shape) == 2 and shape[1] in (None, 1, num_classes)):
        remedy = "" if shape else ", of one example: make batches of the data set, data.batch(32)"
        raise ValueError(f"{forms}; got the shape {_text(shape)}{remedy}")
    if not _is_number(dtype):
        if dtype.startswith(("str", "bytes")):  # NumPy adds their length
            dtype = f"{dtype.rstrip('0123456789')}: take their numbers, np.unique(labels, return_inverse=True)[1]"
        elif dtype == "bool":
            dtype = "bool: convert them with labels.astype('int32')"
        raise ValueError(f"{forms}; got the type {dtype}")


def _is_number(dtype: str) -> bool:
    return dtype.startswith(("int", "uint", "float", "bfloat16"))


def _text(shape: tuple[int | None, ...]) -> str:
    return str(shape).replace("None", "N")
