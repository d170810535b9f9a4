"""Checks of images: their shape, their dtype, and the range of their values."""

from __future__ import annotations

import itertools
import types
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_MOST_IMAGES = 32  # of an array or a batch, evenly spaced; fewer of large images, at least one
_MOST_VALUES = 2**22
_VALUES_IN_A_CALL = 2**16  # outside of `fit`, where calls may be many
_warned: set[str] = set()  # the warnings of calls; `fit`, `evaluate` and `predict` warn every time


def with_shape(images, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """The images as a tensor with the static shape `(batch, *image_shape)`.

    Outside of graphs their values are checked too, see `checked_images`, and each kind of warning comes once a process.

    Args:
        images: a tensor, also of unknown shape, or an array.
        image_shape: `(H, W, C)`.

    Raises:
        ValueError: for another shape, or a dtype that is no image's. A shape that only the running graph knows raises
            a `tf.errors.InvalidArgumentError`.
    """
    images = tf.convert_to_tensor(images)
    _check_dtype(images.dtype)
    _check_shape(images.shape, [image_shape])
    if not images.shape.rank or not images.shape[1:].is_fully_defined():
        return tf.ensure_shape(images, (None, *image_shape))
    if images.dtype != tf.uint8 and not tf.is_symbolic_tensor(images):
        for problem in _problems(_sample(images, _VALUES_IN_A_CALL)):
            if problem[0] not in _warned:
                _warn(problem)
    return images


def checked_images(x: Any, *shapes: tuple[int, ...]) -> Any:
    """Checks the argument of `fit`, `evaluate` or `predict`, and warns of values that no pixels have.

    Of arrays it checks some images, and of a data set, a generator or a `keras.utils.PyDataset` the first batch. It
    does not check uint8 images, as all their values are valid.

    Args:
        x: images `(N, H, W, C)`, a dict with the key `"images"`, or an iterable over batches of these, alone or as
            the first entry of a tuple.
        shapes: the allowed shapes of an example, that of images, `(H, W, C)`, first; none to skip the check.

    Returns:
        `x`, or for a generator another one with the same batches.

    Raises:
        ValueError: for another shape or structure, a dtype that is no image's, or integers outside of 0 to 255.
    """
    if not shapes:
        return x
    if isinstance(x, types.GeneratorType):
        first = next(x, None)
        if first is None:
            raise ValueError("the generator of images yields nothing: it is empty, or was used up before")
        _check_images(_images_of(first), shapes)
        # Keras takes tuples from a generator
        return (batch if isinstance(batch, tuple) else (batch,) for batch in itertools.chain([first], x))
    if isinstance(x, keras.utils.PyDataset):
        _check_images(_images_of(x[0]), shapes)
    elif isinstance(x, tf.data.Dataset):
        spec = _images_of(x.element_spec)
        if not isinstance(spec, tf.TensorSpec):
            raise ValueError(f"a data set of images yields tensors (batch, height, width, channels); got {spec!r}")
        _check_dtype(spec.dtype)
        if spec.shape.rank == len(shapes[0]) and not _is_one_of(spec.shape, shapes):
            raise ValueError("the data set yields one image at a time: batch it, such as dataset.batch(64)")
        _check_shape(spec.shape, shapes)
        if spec.dtype != tf.uint8 or spec.shape.rank is None or None in spec.shape[1:]:
            for first in x.take(1):
                _check_images(_images_of(first), shapes)
    elif isinstance(x, (list, tuple)):
        _check_images(x, shapes)
    elif x is not None and (isinstance(x, dict) or hasattr(x, "shape")):
        _check_images(_images_of(x), shapes)
    return x


def _images_of(batch: Any) -> Any:
    if isinstance(batch, (tuple, list)) and batch:
        batch = batch[0]
    if isinstance(batch, dict):
        if "images" not in batch:
            raise ValueError(f'a dict of inputs holds "images"; got the keys {", ".join(map(repr, batch))}')
        batch = batch["images"]
    return batch


def _check_images(images: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    if not hasattr(images, "shape") or not hasattr(images, "dtype"):
        count = f" of {len(images)}" if isinstance(images, (list, tuple)) else ""
        raise ValueError(
            f"images are one array of shape (batch, {_text(shapes[0])}), got {type(images).__name__}{count}: convert "
            "it with np.stack(images); labels are a separate argument, fit(images, labels)"
        )
    _check_dtype(images.dtype)
    _check_shape(images.shape, shapes)
    if len(images.shape) == 1 + len(shapes[0]) and _name(images.dtype) != "uint8":
        for problem in _problems(_sample(images, _MOST_VALUES)):
            _warn(problem)


def _check_dtype(dtype: Any) -> None:
    name = _name(dtype)
    if not name.startswith(("uint", "int", "float", "bfloat")):
        remedy = {
            "bool": "multiply them by 255",
            "object": "make one array of them, np.stack(images), of images of one size",
            "string": "decode them first",
        }.get(name, "convert them to uint8")
        raise ValueError(f"images are uint8, uint16 or floats in [0, 255], got {name}: {remedy}")


def _is_one_of(shape: Any, shapes: Any) -> bool:
    """Whether a batch's shape, whose rank is known, is that of examples of one of the shapes."""
    sizes = tuple(shape)
    return any(
        len(sizes) == 1 + len(one) and all(got in (None, want) for got, want in zip(sizes[1:], one)) for one in shapes
    )


def _check_shape(shape: Any, shapes: Any) -> None:
    if getattr(shape, "rank", 0) is None:
        return
    sizes, image_shape = tuple(shape), tuple(shapes[0])
    if _is_one_of(shape, shapes):
        return
    height, width, channels = image_shape
    cause = ""
    if sizes == image_shape:
        cause = "this is one image: pass images[None]; else "
    elif sizes[1:] == (channels, height, width):
        cause = "channels come last: pass np.moveaxis(images, 1, -1); else "
    elif sizes[1:] == (height, width) and channels == 1:
        cause = "the axis of channels is missing: pass images[..., None]; else "
    elif len(sizes) < 3:
        cause = "these look like labels: images come first, then labels; else "
    raise ValueError(
        f"expected images of shape (batch, {_text(image_shape)}), got {sizes}; {cause}resize or convert the images, or "
        "make an encoder for another size with encoder.with_image_shape(...)"
    )


def _sample(images: Any, num_values: int) -> np.ndarray:
    """Evenly spaced images, the first and the last included."""
    count = int(images.shape[0] or 0)
    if not count:
        return np.zeros(0, _name(images.dtype))
    size = int(np.prod(tuple(images.shape)[1:]))
    chosen = np.unique(np.linspace(0, count - 1, max(1, min(_MOST_IMAGES, num_values // size))).astype(int))
    return np.asarray(tf.gather(images, chosen) if isinstance(images, tf.Tensor) else images[chosen])


def _problems(images: np.ndarray) -> list[tuple[str, str]]:
    """The problems of the values, as (kind, sentence).

    Raises:
        ValueError: for integers that are no levels. Floats are warned of only, as the encoder's mean and std may be
            made for them.
    """
    name = images.dtype.name
    if not images.size:
        return []
    if name.startswith(("int", "uint")):
        least, most = int(images.min()), int(images.max())
        if name == "uint16":  # 12 bits in 16 are ordinary, 8 are not
            return [("uint16", _EIGHT_BITS.format(most))] if 0 < most < 256 else []
        if least < 0 or most > 255:
            raise ValueError(
                f"images of {name} hold levels from 0 to 255, and these go from {least} to {most}: pass uint8, or "
                "uint16 whose full range is 0 to 65535"
            )
        return [("unit", _UNIT)] if most == 1 else []
    numbers = images.astype("float32")
    finite = numbers[np.isfinite(numbers)]
    problems = []
    if finite.size < numbers.size:
        problems.append(("finite", _NOT_FINITE.format(numbers.size - finite.size, numbers.size)))
    if not finite.size:
        return problems
    low, high = float(finite.min()), float(finite.max())
    if low >= 0 and 0 < high <= 1:
        problems.append(("unit", _UNIT))
    elif low < 0 and high <= 16:
        problems.append(("normalized", _NORMALIZED.format(low, high)))
    elif low < -_ROUNDING or high > 255 + _ROUNDING:
        problems.append(("range", _OUTSIDE.format(low, high)))
    return problems


_ROUNDING = 0.5
_UNIT = (
    "float images are expected in [0, 255], and these look like [0, 1]: multiply them by 255, or pass uint8 (pixels "
    "are normalised inside the model)"
)
_NORMALIZED = (
    "float images are expected in [0, 255], and these go from {:.3g} to {:.3g}, as if they were normalised: pass them "
    "unnormalised, as pixels are normalised inside the model"
)
_OUTSIDE = (
    "float images are expected in [0, 255], and these go from {:.5g} to {:.5g}: scale them, or clip the overshoot of a "
    "resize; uint16 arrays are scaled from their full range inside the model"
)
_NOT_FINITE = (
    "images hold NaN or infinite values, {} of the {} checked: steps with such images are skipped, so leave them out"
)
_EIGHT_BITS = "uint16 images count to 65535, and these to {}, which is nearly black: pass levels of 8 bits as uint8"


def _warn(problem: tuple[str, str]) -> None:
    kind, sentence = problem
    _warned.add(kind)
    warnings.warn(sentence, stacklevel=5)


def _name(dtype: Any) -> str:
    """The name, such as `"uint8"`, of a dtype of NumPy, TensorFlow or PyTorch."""
    if getattr(dtype, "kind", "") == "O":
        return "object"
    try:
        return tf.as_dtype(dtype).name
    except TypeError:
        return str(dtype).rsplit(".", 1)[-1]


def _text(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
