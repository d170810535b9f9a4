"""A part of a source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_mae.data.columns import Column
from keras_mae.data.decoding import Decoding
from keras_mae.data.masks import Masks
from keras_mae.data.source import Source


class Subset(Source):
    """Some of the images of another source.

    Args:
        source: the source.
        indices: of the images, in order: int64 `(n,)`. An image that is there twice is another example each time.
    """

    def __init__(self, source: Source, indices: np.ndarray) -> None:
        self.source, self.indices, self.num_images = source, np.asarray(indices, "int64"), len(indices)
        self.image_shape, self.class_names = source.image_shape, source.class_names
        self.encoded, self.task, self.label_names = source.encoded, source.task, source.label_names
        self.class_weights = source.class_weights
        self.masked = source.masked
        if source.storage_order is not None:
            place = np.empty(source.num_images, "int64")
            place[source.storage_order] = np.arange(source.num_images)
            self.storage_order = np.argsort(place[self.indices], kind="stable")

    @property
    def dtype(self) -> str:
        """The dtype of the source's pixels."""
        return self.source.dtype

    @dtype.setter
    def dtype(self, dtype: str) -> None:
        self.source.dtype = dtype

    @property
    def decoding(self) -> Decoding:
        """How the source decodes image files."""
        return self.source.decoding

    @decoding.setter
    def decoding(self, decoding: Decoding) -> None:
        self.source.decoding = decoding

    @property
    def masks(self) -> Masks:
        """What the numbers in the source's masks mean."""
        return self.source.masks

    @masks.setter
    def masks(self, masks: Masks) -> None:
        self.source.masks = masks

    @property
    def labels(self) -> np.ndarray | None:
        return None if self.source.labels is None else self.source.labels[self.indices]

    @property
    def labelled(self) -> bool:
        return self.source.labelled

    def read(self, index) -> dict[str, tf.Tensor]:
        return self.source.read(tf.gather(self.indices, index))

    def pixels(self, image, channels: int) -> tf.Tensor:
        return self.source.pixels(image, channels)

    def path_at(self, index) -> tf.Tensor:
        return self.source.path_at(tf.gather(self.indices, index))

    def damaged(self, index) -> tf.Tensor:
        return self.source.damaged(tf.gather(self.indices, index))

    def name_of(self, index: int) -> str:
        return self.source.name_of(int(self.indices[index]))

    def name_inside(self, index: int) -> str:
        return self.source.name_inside(int(self.indices[index]))

    def file_names(self) -> tuple[str, list[str]]:
        root, names = self.source.file_names()
        return root, [names[index] for index in self.indices.tolist()]

    @property
    def column_names(self) -> list[str]:
        return self.source.column_names

    def _columns_called(self, names: Sequence[str]) -> list[Column]:
        return [column[self.indices] for column in self.source.columns(names)]

    def remedy(self, index: int) -> str:
        return self.source.remedy(int(self.indices[index]))


def random_subset(source: Source, count: int) -> Subset:
    """Returns a random sample of `count` images, or all if there are fewer; always the same of the same source."""
    return Subset(source, np.random.RandomState(0).permutation(source.num_images)[:count])
