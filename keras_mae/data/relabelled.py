"""Images with other labels than they came with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_mae.data.source import CLASSES, Source
from keras_mae.data.subset import Subset


class Relabelled(Subset):
    """Some of the images of another source, with labels of their own.

    Args:
        source: the source.
        indices: of the images, in order: int64 `(n,)`.
        labels: of classes int64 `(n,)`, else float32 `(n, T)`.
        task, class_names, label_names: of the labels, see `Source`.
    """

    def __init__(
        self,
        source: Source,
        indices: np.ndarray,
        labels: np.ndarray,
        task: str = CLASSES,
        class_names: Sequence[str] = (),
        label_names: Sequence[str] = (),
    ) -> None:
        super().__init__(source, indices)
        self.task, self.class_names, self.label_names = task, list(class_names), list(label_names)
        self._labels = np.asarray(labels, "int64" if task == CLASSES else "float32")
        with tf.init_scope(), tf.device("CPU"):  # held once, by reference: a graph's constants may not exceed 2 GB
            self._rows = tf.constant(self._labels)

    @property
    def labels(self) -> np.ndarray | None:
        return self._labels

    @property
    def labelled(self) -> bool:
        return True

    def label_at(self, index) -> tf.Tensor:
        return tf.gather(self._rows, index)

    def read(self, index) -> dict[str, tf.Tensor]:
        return {**super().read(index), "label": self.label_at(index)}
