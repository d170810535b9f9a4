"""The sizes that the parts of a pretraining model have to agree on."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import keras
import tensorflow as tf

from keras_mae.layers.patches import Patchify, unpatchify
from keras_mae.layers.pixel_normalization import PixelNormalization


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The sizes of an encoder, which a model passes once to masking, target, loss and decoder, by `attach`.

    Attributes:
        image_shape: `(H, W, C)` in pixels.
        grid: number of patch rows and columns; `L` patches in all.
        hidden_dim: width `D` of the encoder's tokens.
        num_prefix_tokens: tokens before those of the patches.
        mean, std: normalisation of the pixels, one number a channel in units of 255 levels.
        target_dim: width of the prediction for one patch; None until the target is attached.
    """

    image_shape: tuple[int, int, int]
    grid: tuple[int, int]
    hidden_dim: int
    num_prefix_tokens: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    target_dim: int | None = None

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return self.image_shape[0] // self.grid[0], self.image_shape[1] // self.grid[1]

    @property
    def num_patches(self) -> int:
        """`L`."""
        return math.prod(self.grid)

    @property
    def values_per_patch(self) -> int:
        """`ph * pw * C`."""
        return math.prod(self.patch_size) * self.image_shape[-1]

    @functools.cached_property
    def _layers(self) -> tuple[Patchify, PixelNormalization]:
        return Patchify(self.patch_size), PixelNormalization(self.mean, self.std)

    def patches(self, images) -> tf.Tensor:
        """Cuts images `(B, H, W, C)` into flattened patches `(B, L, ph * pw * C)` of the same dtype."""
        return self._layers[0](images)

    def normalized_patches(self, images) -> tf.Tensor:
        """Cuts images `(B, H, W, C)` into normalised patches, the network's input, float32 `(B, L, ph * pw * C)`."""
        patchify, normalize = self._layers
        return normalize(patchify(images))

    def levels(self, normalized) -> tf.Tensor:
        """The inverse of the normalisation: pixel levels in [0, 255], not clipped, float32 of the same shape."""
        return self._layers[1].inverse(normalized)

    def images(self, patches) -> tf.Tensor:
        """Joins flattened patches `(B, L, ph * pw * C)` to images `(B, H, W, C)`."""
        return unpatchify(patches, self.image_shape, self.patch_size)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Geometry:
        """The inverse of `dataclasses.asdict`; JSON has made lists of tuples."""
        values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in config.items()}
        return cls(**values)


class AttachedLayer(keras.layers.Layer):
    """A layer that belongs to the sizes of one model: a decoder or a target. The model calls `attach` once.

    Attributes:
        kind: the user's word for the layer.
        sizes: the names of the sizes that matter to the layer.
    """

    kind: str
    sizes: tuple[str, ...]
    _geometry: Geometry | None = None

    @property
    def geometry(self) -> Geometry:
        """The sizes of the model; raises a ValueError before `attach`."""
        if self._geometry is None:
            raise ValueError(f"a {self.kind} needs to know the model's sizes: pass it to a model, or call attach")
        return self._geometry

    def attach(self, geometry: Geometry) -> None:
        """Sets the sizes of the model.

        Raises:
            ValueError: if the layer is attached to other sizes already.
        """
        self._geometry = self._geometry or geometry
        both = [{name: getattr(each, name) for name in self.sizes} for each in (self._geometry, geometry)]
        if both[0] != both[1]:
            there, here = (", ".join(f"{name}={size}" for name, size in each.items()) for each in both)
            raise ValueError(
                f"this {self.kind} belongs to a model with {there}, and cannot serve one with {here}; make another "
                f"{self.kind}"
            )
