"""Labels of a classifier in all accepted forms, and their checks."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_FORMS = "integers of shape (N,) or (N, 1), or one probability a class, shape (N, {classes})"
SEVERAL = "labels are {count} numbers in [0, 1] an image, shape (N, {count}), 1 for each label that it has"
NUMBERS = "labels are {count} finite numbers an image, shape (N, {count}), or (N,) of one number"
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
    shape, dtype = form_of(labels)
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
    _check_form(*form_of(labels), num_classes)
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


def several_probabilities(labels, num_labels: int, batch_size) -> tuple[tf.Tensor, tf.Tensor]:
    """Several labels at once as probabilities, and whether those of each example are valid.

    Args:
        labels: `(B, num_labels)`, or `(B,)` of one label: numbers in [0, 1].
        num_labels: `K`.
        batch_size: `B`, an integer scalar.

    Returns:
        Float32 `(B, K)`, NaN in rows of invalid labels, and bool `(B,)`.

    Raises:
        ValueError: as `class_probabilities`.
    """
    shares, _ = numbers_of(labels, num_labels, batch_size, SEVERAL)
    if tf.executing_eagerly():
        check_several(labels, num_labels)
    fine = tf.reduce_all((shares >= 0) & (shares <= 1), axis=1)  # NaN compares as False
    return tf.where(fine[:, None], shares, float("nan")), fine


def check_several(labels, num_labels: int) -> None:
    """As `check_labels`, for `several_probabilities`."""
    values = _values(labels, num_labels, SEVERAL)
    bad = ~((values >= 0) & (values <= 1)).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{SEVERAL.format(count=num_labels)}; got {np.round(values[bad][0], 4).tolist()} for example "
            f"{bad.argmax()}, and {bad.sum()} such of {len(values)}"
        )


def fault_of_several(num_labels: int) -> str:
    """As `fault_of_labels`, for several labels at once."""
    return f"the labels of {{count}} examples are none: {SEVERAL.format(count=num_labels)}"


def numbers_of(labels, count: int, batch_size, form: str = NUMBERS) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels that are numbers as float32 `(B, count)`, and whether those of each example are finite, bool `(B,)`.

    Args:
        labels: `(B, count)`, or `(B,)` of one number.
        count: numbers of an example.
        batch_size: `B`, an integer scalar.
        form: the sentence on what labels are.

    Raises:
        ValueError: for another shape or type; eagerly for numbers that are not finite.
    """
    _check_rows(labels, count, form)
    if tf.executing_eagerly() and form is NUMBERS:
        check_numbers(labels, count)
    numbers = tf.reshape(tf.cast(tf.convert_to_tensor(labels), tf.float32), [batch_size, count])
    return numbers, tf.reduce_all(tf.math.is_finite(numbers), axis=1)


def check_numbers(labels, count: int) -> None:
    """As `check_labels`, for `numbers_of`."""
    values = _values(labels, count, NUMBERS)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{NUMBERS.format(count=count)}; got {values[bad][0].tolist()} for example {bad.argmax()}, and "
            f"{bad.sum()} such of {len(values)}"
        )


def fault_of_numbers(count: int) -> str:
    """As `fault_of_labels`, for numbers."""
    return f"the labels of {{count}} examples are none: {NUMBERS.format(count=count)}"


def _values(labels, count: int, form: str) -> np.ndarray:
    """Labels as float64 `(N, count)`; `(0, count)` for None and for a specification, whose form alone is checked."""
    if labels is None:
        return np.zeros((0, count))
    _check_rows(labels, count, form)
    if isinstance(labels, tf.TensorSpec):
        return np.zeros((0, count))
    return np.asarray(labels).astype("float64").reshape(-1, count)


def _check_rows(labels, count: int, form: str) -> None:
    shape, dtype = form_of(labels)
    fits = shape is None or (len(shape) == 2 and shape[1] in (None, count)) or (len(shape) == 1 and count == 1)
    if not fits:
        raise ValueError(f"{form.format(count=count)}; got the shape {as_text(shape or ())}")
    if not (is_number(dtype) or dtype == "bool"):
        raise ValueError(f"{form.format(count=count)}; got the type {dtype.rstrip('0123456789')}")


def finite_rows(labels) -> tf.Tensor:
    """Whether the labels of each example, one tensor or several, are finite: bool `(B,)`, or a scalar of integers."""
    fine = tf.constant(True)
    for each in map(tf.convert_to_tensor, tf.nest.flatten(labels)):
        if each.dtype.is_floating:
            fine = fine & tf.reduce_all(tf.reshape(tf.math.is_finite(each), [tf.shape(each)[0], -1]), axis=1)
    return fine


def form_of(labels) -> tuple[tuple[int | None, ...] | None, str]:
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
        raise ValueError(f"{forms}; got the shape {as_text(shape)}{remedy}")
    if not is_number(dtype):
        if dtype.startswith(("str", "bytes")):  # NumPy adds their length
            dtype = f"{dtype.rstrip('0123456789')}: take their numbers, np.unique(labels, return_inverse=True)[1]"
        elif dtype == "bool":
            dtype = "bool: convert them with labels.astype('int32')"
        raise ValueError(f"{forms}; got the type {dtype}")


def is_number(dtype: str) -> bool:
    """Whether a dtype is one of numbers, by its name."""
    return dtype.startswith(("int", "uint", "float", "bfloat16"))


def as_text(shape: tuple[int | None, ...]) -> str:
    """A shape for messages, N for an unknown size."""
    return str(shape).replace("None", "N")
