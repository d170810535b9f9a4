"""The interface of a collection of images."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from keras_mae.data.decoding import Decoding, decode_file
from keras_mae.data.masks import Masks
from keras_mae.registry import did_you_mean, listed

if TYPE_CHECKING:
    from keras_mae.data.columns import Column

NO_LABEL = -1
CLASSES, LABELS, NUMBERS = TASKS = ("classes", "labels", "numbers")


class Source(abc.ABC):
    """A numbered collection of images, with or without labels.

    Attributes:
        num_images: the number of images.
        image_shape: `(H, W, C)` if all have the same and `read` takes several indices at once, else None.
        dtype: of the pixels, `"uint8"` or `"uint16"`; image files are decoded to it, also if it is set to the other.
        decoding: how image files are decoded.
        encoded: whether images are kept as files' bytes and decoded, perhaps in part, when they are needed.
        task: what the labels are: `"classes"`, the number of each image's class; `"labels"`, several at once, of which
            each is 0 or 1; `"numbers"`, such as an age, one or several.
        class_names: the names of the labels 0, 1, ...; empty if they have none, or are no classes.
        label_names: the names of the columns of several labels or numbers; empty for classes.
        class_weights: of the classes 0, 1, ..., by which the loss of an image is weighted in training, float32 `(K,)`;
            None for none.
        validation_apart: whether the set has images to test on of its own, which are not among these.
        storage_order: the indices in the order in which the images lie in large files, int64 `(num_images,)`, for
            shuffling with few jumps; None if every image is as near as any other.
        masked: whether every image has a mask, a class for each of its pixels.
        masks: what the numbers in masks mean.
    """

    num_images: int
    image_shape: tuple[int, int, int] | None = None
    dtype: str = "uint8"
    decoding: Decoding = Decoding()
    encoded: bool = False
    task: str = CLASSES
    class_names: list[str] = []
    label_names: list[str] = []
    class_weights: np.ndarray | None = None
    validation_apart: bool = False
    storage_order: np.ndarray | None = None
    masked: bool = False
    masks: Masks = Masks()
    _labels: np.ndarray | None = None

    @abc.abstractmethod
    def read(self, index) -> dict[str, tf.Tensor]:
        """Reads the fields of the example `index`, an int64 scalar tensor.

        Returns:
            `image`: pixels, `dtype` `(H, W, C)`, or a file's bytes, a string scalar, if the source is encoded;
            `label`: of classes int64, -1 without; else float32 `(T,)`; and if the source is masked `mask`: integers
            `(H, W)`, or a file's bytes.

        Raises:
            tf.errors.OpError: if it cannot be read.
        """

    @abc.abstractmethod
    def name_of(self, index: int) -> str:
        """Returns the name of the image for messages."""

    def name_inside(self, index: int) -> str:
        """Returns the name of the image among those of the source, such as its path below a folder."""
        return self.name_of(index)

    def file_names(self) -> tuple[str, list[str]]:
        """Returns a folder, empty for images without files, and every image's name below it: its path or its number."""
        return "", [str(index) for index in range(self.num_images)]

    @property
    def column_names(self) -> list[str]:
        """The names of the values that lie beside the images, see `columns`."""
        return []

    def columns(self, names: Sequence[str]) -> list[Column]:
        """Returns values that lie beside the images, one for each; raises ValueError if none have a name."""
        there = self.column_names
        for name in names:
            if name not in there:
                known = f"{did_you_mean(name, there)} {listed(there)}" if there else ""
                raise ValueError(
                    f"{self.name_of(0)}: nothing called {name!r} lies beside the images{known}; give a table with "
                    "--labels"
                )
        return self._columns_called(names) if names else []

    def _columns_called(self, names: Sequence[str]) -> list[Column]:
        """Returns the values of some of `column_names`."""
        raise NotImplementedError

    def remedy(self, index: int) -> str:
        """Returns what to do about an image that cannot be decoded, if its file tells."""
        return ""

    def pixels(self, image, channels: int) -> tf.Tensor:
        """Decodes the field `image` of `read` to `dtype` `(H, W, channels)`; raises OpError if it is corrupt."""
        return decode_file(image, channels, self.dtype, self.decoding) if self.encoded else image

    def image(self, index, channels: int) -> tf.Tensor:
        """Reads and decodes the image `index` to `dtype` `(H, W, channels)`; raises OpError if it is corrupt."""
        return self.pixels(self.read(index)["image"], channels)

    def mask(self, mask) -> tf.Tensor:
        """Turns the field `mask` of `read` into classes, int32 `(H, W)`, see `Masks`; raises OpError if it is bad."""
        return self.masks.decode(mask, self.decoding.max_pixels) if self.encoded else self.masks.classes(mask)

    def path_at(self, index) -> tf.Tensor:
        """Returns the path of the file that holds the image, a string tensor; empty if there is none."""
        return tf.constant("")

    def damaged(self, index) -> tf.Tensor:
        """Returns whether the image's file can be read but its contents are damaged: a bool tensor; may be slow."""
        return tf.constant(False)

    @property
    def labels(self) -> np.ndarray | None:
        """The labels: of classes int64 `(num_images,)`, else float32 `(num_images, T)`; None without."""
        return self._labels

    @property
    def labelled(self) -> bool:
        """Whether there are labels. Unlike `labels`, this never reads all of them."""
        return self._labels is not None

    def label_at(self, index) -> tf.Tensor:
        """Returns the label of each index, of shape `(*index.shape,)` or `(*index.shape, T)`; -1 if there are none."""
        return NO_LABEL * tf.ones_like(index) if self._labels is None else tf.gather(self._labels, index)

    def required_labels(self) -> np.ndarray:
        """Returns `labels`; raises ValueError if there are none."""
        if self.labels is None:
            beside = f"; beside them lie {listed(self.column_names)}: see --label_columns" if self.column_names else ""
            raise ValueError(
                f"labels are needed, and these images have none, such as {self.name_of(0)}{beside}; a folder has "
                "labels if its images lie in one subfolder a class, an npz file if it has an array 'labels' of "
                "integers, and any images have those of a table, --labels"
            )
        return self.labels

    def require_masks(self) -> None:
        """Raises ValueError if there are no masks."""
        if not self.masked:
            raise ValueError(
                f"masks are needed, and these images have none, such as {self.name_of(0)}; give two folders as "
                "pairs:IMAGES,MASKS, an npz file with an array 'masks', or TFRecord files with a feature 'mask'"
            )

    @property
    def num_classes(self) -> int:
        """The number of class names, or the largest label + 1 without names; raises ValueError without classes."""
        if self.task != CLASSES:
            raise ValueError(f"classes are needed, and the labels of these images are {self.task}")
        return len(self.class_names) or int(self.required_labels().max()) + 1
