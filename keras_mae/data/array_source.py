"""Images in memory."""

from __future__ import annotations

import zipfile
import zlib

import numpy as np
import tensorflow as tf

from keras_mae.data.patient_reading import is_there, passing, patiently
from keras_mae.data.source import Source


class ArraySource(Source):
    """Images in memory.

    Args:
        images: uint8 or uint16 array `(N, H, W, C)` or `(N, H, W)`, any number of channels.
        labels: None, or integers `(N,)`.
        name: of the array in messages.
        class_names: of the labels, if they have any.
        masks: None, or integers `(N, H, W)`, a number for each pixel.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        name: str = "array",
        class_names: list[str] | None = None,
        masks: np.ndarray | None = None,
    ) -> None:
        images = images[..., None] if images.ndim == 3 else images
        if images.ndim != 4 or images.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"{name}: images are uint8 or uint16 of shape (N, H, W, C), got {images.dtype} of shape {images.shape}"
            )
        if not len(images):
            raise ValueError(f"{name}: holds no image")
        if labels is not None and (labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer)):
            raise ValueError(
                f"{name}: {len(images)} images need integer labels of shape ({len(images)},), got {labels.dtype} of "
                f"shape {labels.shape}"
            )
        self.images, self.name, self.num_images = images, name, len(images)
        self.image_shape, self.dtype = images.shape[1:], images.dtype.name
        self.class_names = class_names or []
        self._table: tf.Tensor | None = None
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
        self._labels = None if labels is None else labels.astype("int64")

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
