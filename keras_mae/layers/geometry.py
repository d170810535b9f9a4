"""The sizes that the parts of a pretraining model have to agree on."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import tensorflow as tf

from keras_mae.layers.patches import Patchify, unpatchify
from keras_mae.layers.pixel_normalization import PixelNormalization


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What masking, target, loss and decoder know of the encoder: a model tells each of them once, by `attach`.

    Attributes:
        image_shape: `(H, W, C)` in pixels.
        grid: number of patch rows and columns; `L` patches in all.
        hidden_dim: width `D` of the encoder's tokens.
        num_prefix_tokens: tokens before those of the patches.
        mean, std: normalisation of the pixels, one number a channel in units of 255 levels.
        target_dim: width of the prediction for one patch; None as long as the target is not attached.
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
        """Images `(B, H, W, C)` as flattened patches `(B, L, ph * pw * C)` of the same dtype."""
        return self._layers[0](images)

    def normalized_patches(self, images) -> tf.Tensor:
        """Images `(B, H, W, C)` to the patches that the network sees, float32 `(B, L, ph * pw * C)`."""
        return self._layers[1](self.patches(images))

    def levels(self, normalized) -> tf.Tensor:
        """Numbers that the network sees as pixel levels in [0, 255], not clipped, float32 of the same shape."""
        return self._layers[1].inverse(normalized)

    def images(self, patches) -> tf.Tensor:
        """Flattened patches `(B, L, ph * pw * C)` as images `(B, H, W, C)`."""
        return unpatchify(patches, self.image_shape, self.patch_size)

    def check_same(self, before: Geometry | None, part: str, names: tuple[str, ...]) -> None:
        """Refuses to attach a part that is attached to another geometry.

        Args:
            before: what the part was attached to, or None.
            part: what it is to a user, such as `"decoder"`.
            names: the sizes that matter to it.

        Raises:
            ValueError: if one of them differs.
        """
        if before is not None and any(getattr(before, name) != getattr(self, name) for name in names):
            there, here = (", ".join(f"{name}={getattr(each, name)}" for name in names) for each in (before, self))
            raise ValueError(
                f"this {part} belongs to a model with {there}, and cannot serve one with {here}; make another {part}"
            )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Geometry:
        """The geometry that `dataclasses.asdict` made a record of, where JSON has lists for tuples."""
        values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in config.items()}
        return cls(**values)
