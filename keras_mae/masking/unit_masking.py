"""SimMIM's masking in square units of several patches."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.layers.geometry import Geometry
from keras_mae.masking.mask_sampler import MaskSampler, largest_ratio


@keras.saving.register_keras_serializable(package="keras_mae")
class UnitMasking(MaskSampler):
    """Masks a uniformly random subset of square units, each of which is one patch or several.

    All patches of a unit are masked together. Of `U` units `ceil(U * mask_ratio)` are masked, so 49 units at 0.6 leave
    19. The model passes the size of a patch, by `attach`.

    Args:
        unit: side of a unit in pixels, a multiple of the patch's height and of its width; the image's height and
            width are multiples of it.
        mask_ratio: share of the units that is masked, in [0, 1).

    Example:

    >>> sampler = UnitMasking(unit=32, mask_ratio=0.6)
    >>> sampler.attach(encoder.geometry)  # of 14 x 14 patches of 16 x 16; a model does so
    >>> sampler((14, 14), batch_size=8, seed=ExampleSeed.for_step(0, 0, 8)).ids_keep.shape
    TensorShape([8, 76])

    Reference: arXiv 2111.09886, section 3.2, "Masking Strategy", "Patch-aligned random masking"; Table 1.
    """

    def __init__(self, unit: int = 32, mask_ratio: float = 0.6) -> None:
        super().__init__(mask_ratio)
        if not isinstance(unit, int) or unit < 1:
            raise ValueError(f"a unit is the positive number of pixels of its side, such as 32; got {unit!r}")
        self.unit = unit
        self._unit_patches: tuple[int, int] | None = None

    @property
    def unit_patches(self) -> tuple[int, int]:
        """Rows and columns of patches in a unit; a ValueError before `attach`."""
        if self._unit_patches is None:
            raise ValueError(
                f"a unit of {self.unit} pixels needs the size of a patch: pass the sampler to a model, or call "
                "attach(geometry)"
            )
        return self._unit_patches

    def attach(self, geometry: Geometry) -> None:
        """Sets the size of a patch.

        Raises:
            ValueError: if patches do not fill a unit, or units the image; if the ratio leaves no unit visible; or if
                the sampler is attached to patches of another size already.
        """
        height, width = geometry.patch_size
        if self.unit % height or self.unit % width:
            raise ValueError(
                f"a unit is a multiple of the patch's height and of its width, {height} x {width}: got {self.unit} "
                f"pixels; set unit to a multiple of {math.lcm(height, width)}"
            )
        unit_patches = (self.unit // height, self.unit // width)
        if self._unit_patches not in (None, unit_patches):
            raise ValueError(
                f"this sampler belongs to a model with units of {self._unit_patches} patches, and cannot serve one "
                f"with {unit_patches}; make another sampler"
            )
        self._unit_patches = unit_patches
        self._units(geometry.grid)
        super().attach(geometry)

    def num_visible(self, num_patches: int, mask_ratio: float | None = None) -> int:
        """The number of patches in the `U - ceil(U * mask_ratio)` visible units."""
        patches = math.prod(self.unit_patches)
        units = num_patches // patches
        ratio = self.ratio_or_own(mask_ratio)
        visible = units - math.ceil(units * ratio)
        if visible < 1:
            largest = largest_ratio(units, lambda ratio: units - math.ceil(units * ratio))
            raise ValueError(
                f"a mask ratio of {ratio} leaves none of the {units} units of {self.unit} pixels visible; the largest "
                f"that leaves one is {largest}"
            )
        return visible * patches

    def noise(self, grid: tuple[int, int], batch_size, seed: ExampleSeed, mask_ratio: float) -> tf.Tensor:
        """The rank of each patch's unit in a random order of the units."""
        rows, columns = self._units(grid)
        order = tf.argsort(seed.uniform(batch_size, (rows * columns,)), axis=1, stable=True)
        ranks = tf.reshape(tf.argsort(order, axis=1), [batch_size, rows, columns])
        for axis, repeats in zip((1, 2), self.unit_patches):
            ranks = tf.repeat(ranks, repeats, axis=axis)
        return tf.cast(tf.reshape(ranks, [batch_size, grid[0] * grid[1]]), tf.float32)

    def _units(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of units."""
        rows, columns = self.unit_patches
        if grid[0] % rows or grid[1] % columns:
            raise ValueError(
                f"units of {self.unit} pixels, {rows} x {columns} patches, do not fill a grid of {grid[0]} x {grid[1]} "
                "patches; choose a unit that divides the image's height and width"
            )
        return grid[0] // rows, grid[1] // columns

    def get_config(self) -> dict[str, Any]:
        return {"unit": self.unit, **super().get_config()}
