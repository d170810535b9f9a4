"""What a format of files for other programs consists of."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from keras_mae.export.signatures import ServedModel
from keras_mae.layers import pixel_levels


class ExchangeFormat(abc.ABC):
    """A format: how its files are written, and how its own runtime computes them.

    Attributes:
        name: of the format, and of the extra of this package that installs what it needs.
        files: the names of its files in a version's folder, the one that programs open first.
        dtypes: in which its files compute.
    """

    name: ClassVar[str]
    files: ClassVar[tuple[str, ...]]
    dtypes: ClassVar[tuple[str, ...]] = ("float32",)

    @abc.abstractmethod
    def packages(self) -> Any:
        """Imports the packages that writing and running need, and returns the runtime; an ImportError without one."""

    @abc.abstractmethod
    def write(self, model: NumbersOnly, file: str, licence: str | None) -> None:
        """Writes the model of one input, `images`; into the file's metadata, if it has some, also the licence."""

    @abc.abstractmethod
    def run(self, file: str, images: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name, computed in all bits of float32."""

    def runtime(self) -> Any:
        """As `packages`, with a ValueError that says what to install."""
        try:
            return self.packages()
        except ImportError as error:
            raise ValueError(
                f"format {self.name!r} needs packages that are not installed: pip install 'keras-mae[{self.name}]' "
                f"({error})"
            ) from error


class NumbersOnly(keras.Model):
    """The first signature of images as a Keras model, as Keras' exporters need it, without outputs of strings.

    Args:
        served: the model.
    """

    def __init__(self, served: ServedModel) -> None:
        super().__init__(name="served")  # a scope must not begin with an underscore
        self._function = lambda: getattr(served, served.of_images[0])
        self.spec = served.images_spec()
        self.built = True

    def call(self, images, training=False) -> dict[str, Any]:
        if images.dtype == tf.uint16:  # LiteRT cannot transpose it
            images = pixel_levels(images)
        outputs = self._function().python_function(images)
        return {name: value for name, value in outputs.items() if value.dtype == tf.float32}
