"""Labels of pixels, and their checks."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mae.models.labels import as_text, form_of, is_number

IGNORED = -1  # the label of a pixel that counts neither in the loss nor in metrics
INVALID = -2  # in checked labels: a number that is no label


def pixel_classes(labels, num_classes: int, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels as int32 `(B, H, W)`, `INVALID` where they are no labels, and whether those of an image are all valid.

    Args:
        labels: `(B, H, W)` or `(B, H, W, 1)`: the class of each pixel, from 0, or `IGNORED`.
        num_classes: `K`.
        size: `(H, W)` of the images.

    Returns:
        int32 `(B, H, W)` and bool `(B,)`.

    Raises:
        ValueError: for another shape or type, as far as a traced graph knows it; and eagerly for invalid values.
    """
    _check_form(labels, num_classes, size)
    labels = tf.convert_to_tensor(labels)
    if tf.executing_eagerly():
        check_pixel_labels(labels, num_classes, size)
    labels = tf.reshape(labels, [-1, *size])
    classes = tf.cast(labels, tf.int32)
    fine = (classes >= IGNORED) & (classes < num_classes) & tf.equal(tf.cast(classes, labels.dtype), labels)
    if labels.dtype.is_unsigned:  # -1 would be the largest of its numbers
        fine &= classes >= 0
    return tf.where(fine, classes, INVALID), tf.reduce_all(fine, axis=[1, 2])


def check_pixel_labels(labels, num_classes: int, size: tuple[int, int]) -> None:
    """Checks labels: None, an array of any kind, or the specification of a data set's labels.

    Raises:
        ValueError: for a shape, type or values that `pixel_classes` does not take.
    """
    if labels is None:
        return
    _check_form(labels, num_classes, size)
    if isinstance(labels, tf.TensorSpec):
        return
    values = np.asarray(labels)
    if not values.size:
        return
    if not np.issubdtype(values.dtype, np.integer):
        values = values.astype("float64")
        whole = values == np.floor(values)  # NaN compares as False
        if not whole.all():
            raise ValueError(f"{_sentence(num_classes, size)}; got {values[~whole].flat[0]:g}")
    least, most = int(values.min()), int(values.max())
    if least < IGNORED or most >= num_classes:
        raise ValueError(f"{_sentence(num_classes, size)}; got {least} to {most}: {_remedy(most)}")


def fault_of_pixels(num_classes: int, size: tuple[int, int]) -> str:
    """The sentence for invalid labels that a compiled step has counted, with a place for `{count}`."""
    return f"the labels of {{count}} images have other numbers: {_sentence(num_classes, size)}: {_remedy(None)}"


def _sentence(num_classes: int, size: tuple[int, int]) -> str:
    return (
        f"labels of {num_classes} classes are integers from 0 to {num_classes - 1} for each pixel, or {IGNORED} for a "
        f"pixel without label, shape (N, {size[0]}, {size[1]})"
    )


def _remedy(most: int | None) -> str:
    if most == 255:
        return "if 255 stands for pixels without label, np.where(labels == 255, -1, labels.astype('int32'))"
    return "make the segmenter with as many classes as the data have, and count them from 0"


def _check_form(labels, num_classes: int, size: tuple[int, int]) -> None:
    shape, dtype = form_of(labels)
    given = None if shape is None else (*shape, 1) if len(shape) == 3 else shape
    known = given is None or (
        len(given) == 4 and all(one in (None, side) for one, side in zip(given[1:], (*size, 1), strict=True))
    )
    if not known:
        hint = ""
        if shape is not None and len(shape) == 4 and shape[3] == num_classes:
            hint = ": take the classes of one-hot labels, np.argmax(labels, axis=-1)"
        raise ValueError(f"{_sentence(num_classes, size)}; got the shape {as_text(shape or ())}{hint}")
    if not is_number(dtype):
        hint = ": convert them with labels.astype('int32')" if dtype == "bool" else ""
        raise ValueError(f"{_sentence(num_classes, size)}; got the type {dtype}{hint}")
