"""Images in memory."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_mae.data.columns import Column
from keras_mae.data.patient_reading import is_there, passing, patiently
from keras_mae.data.source import CLASSES, Source


class ArraySource(Source):
    """Images in memory.

    Args:
        images: uint8 or uint16 array `(N, H, W, C)` or `(N, H, W)`, any number of channels.
        labels: None, or integers `(N,)`; of other tasks than classes floats `(N, T)`.
        name: of the array in messages.
        class_names: of the labels, if they have any.
        task, label_names: see `Source`.
        columns: further values by their names, see `Source.column`: integers, floats, truth values or texts `(N,)`, or
            `(N, T)`, whose columns are called `name[0]`, `name[1]`, ...
        masks: None, or integers `(N, H, W)`, a number for each pixel.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        name: str = "array",
        class_names: list[str] | None = None,
        task: str = CLASSES,
        label_names: list[str] | None = None,
        columns: Mapping[str, np.ndarray] | None = None,
        masks: np.ndarray | None = None,
    ) -> None:
        images = images[..., None] if images.ndim == 3 else images
        if images.ndim != 4 or images.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"{name}: images are uint8 or uint16 of shape (N, H, W, C), got {images.dtype} of shape {images.shape}"
            )
        if not len(images):
            raise ValueError(f"{name}: holds no image")
        self.task, self.label_names = task, label_names or []
        if task != CLASSES:
            if labels is None or labels.shape != (len(images), len(self.label_names)) or not self.label_names:
                raise ValueError(
                    f"{name}: {task} of {len(images)} images are rows with a number for each of label_names, here "
                    f"{self.label_names}; got {None if labels is None else labels.shape}"
                )
        elif labels is not None and (labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer)):
            raise ValueError(
                f"{name}: {len(images)} images need integer labels of shape ({len(images)},), got {labels.dtype} of "
                f"shape {labels.shape}"
            )
        self.images, self.name, self.num_images = images, name, len(images)
        self.image_shape, self.dtype = images.shape[1:], images.dtype.name
        self.class_names = class_names or []
        self._columns = _flat(columns or {}, len(images))
        self._table: tf.Tensor | None = None
        self._labels = None if labels is None else labels.astype("int64" if task == CLASSES else "float32")
        self._masks: tf.Tensor | None = None
        self.masked, self.array_of_masks = masks is not None, masks
        if masks is not None and (masks.shape != images.shape[:3] or not np.issubdtype(masks.dtype, np.integer)):
            raise ValueError(
                f"{name}: masks are integers of shape {images.shape[:3]}, a number for each pixel, got {masks.dtype} "
                f"of shape {masks.shape}"
            )
        limits = np.iinfo("int32")
        if masks is not None and masks.size and not limits.min <= int(masks.min()) <= int(masks.max()) <= limits.max:
            raise ValueError(f"{name}: numbers in masks are those of classes, got {masks.min()} to {masks.max()}")

    def read(self, index) -> dict[str, tf.Tensor]:
        with tf.init_scope():  # graphs refer to it: a constant in a graph may not exceed 2 GB
            if self._table is None:
                self._table = tf.constant(self.images)
            if self._masks is None and self.masked:
                self._masks = tf.constant(self.array_of_masks)
        fields = {"image": tf.gather(self._table, index), "label": self.label_at(index)}
        return {**fields, "mask": tf.gather(self._masks, index)} if self.masked else fields

    def pixels(self, image, channels: int) -> tf.Tensor:
        if channels != self.images.shape[-1]:
            raise ValueError(f"{self.name}: images have {self.images.shape[-1]} channels, {channels} were asked for")
        return image

    def name_of(self, index: int) -> str:
        return f"{self.name}[{index}]"

    def name_inside(self, index: int) -> str:
        return f"images[{index}]"

    @property
    def column_names(self) -> list[str]:
        return list(self._columns)

    def _columns_called(self, names: Sequence[str]) -> list[Column]:
        return [self._column(name) for name in names]

    def _column(self, name: str) -> Column:
        values, missing = self._columns[name], np.zeros(self.num_images, bool)
        if values.dtype.kind == "U":
            return Column.of_texts(name, values.tolist(), values == "", self.name_of)
        return Column(name, values, missing, self.name_of)


def _flat(columns: Mapping[str, np.ndarray], num_images: int) -> dict[str, np.ndarray]:
    """Those of some arrays that have a value for each image, or several, which get a name each."""
    found: dict[str, np.ndarray] = {}
    for name, array in columns.items():
        if array.dtype.kind not in "iufbU" or array.shape[:1] != (num_images,) or array.ndim > 2:
            continue
        array = array.astype({"u": "int64", "i": "int64", "f": "float64"}.get(array.dtype.kind, array.dtype))
        found |= {name: array} if array.ndim == 1 else {f"{name}[{n}]": array[:, n] for n in range(array.shape[1])}
    return found


def read_npz(path: str) -> dict[str, np.ndarray]:
    """Reads the arrays of a `numpy.savez` file; raises ValueError if it is missing, no such file or lacks `images`."""
    if not is_there(path):
        raise ValueError(f"npz:{path}: there is no such file")
    arrays = patiently(lambda: _arrays_in(path), path)
    if "images" not in arrays:
        raise ValueError(f"npz:{path}: needs an array called 'images', has {', '.join(map(repr, arrays)) or 'nothing'}")
    return arrays


_NO_NPZ = (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error, tf.errors.OpError)


def _arrays_in(path: str) -> dict[str, np.ndarray]:
    with tf.io.gfile.GFile(path, "rb") as file:
        try:
            return dict(np.load(file, allow_pickle=False).items())
        except _NO_NPZ as error:
            if passing(error):
                raise
            raise ValueError(f"npz:{path}: is not a file written by numpy.savez ({error})") from error
