"""A mask in its three equivalent forms, and the base of all mask samplers."""

from __future__ import annotations

import abc
import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from keras_mae.example_seed import ExampleSeed, Purpose
from keras_mae.layers.geometry import Geometry


class Mask(NamedTuple):
    """A partition of each example's `L` patches into `K` visible and `L - K` masked ones.

    All indices are patch coordinates, row by row, without prefix tokens.

    Attributes:
        ids_keep: int32 `(B, K)`, the visible patches, in the encoder's order.
        ids_masked: int32 `(B, L - K)`, the masked patches.
        ids_restore: int32 `(B, L)`: entry `l` is the index of patch `l` in `concat(visible, masked)`.
        mask: float32 `(B, L)`, 1 = masked.
    """

    ids_keep: tf.Tensor
    ids_masked: tf.Tensor
    ids_restore: tf.Tensor
    mask: tf.Tensor

    @classmethod
    def from_noise(cls, noise, num_visible) -> Mask:
        """The `num_visible` patches with the smallest noise stay visible; ties go to the first.

        Args:
            noise: float tensor `(B, L)`.
            num_visible: int (shapes are then static), or an integer scalar tensor.

        Reference: arXiv 2111.06377, section 3, "Simple implementation" (shuffle and unshuffle).
        """
        ids_shuffle = tf.argsort(noise, axis=1, stable=True)  # (B, L)
        ids_restore = tf.argsort(ids_shuffle, axis=1)
        mask = tf.cast(ids_restore >= num_visible, tf.float32)
        return cls(ids_shuffle[:, :num_visible], ids_shuffle[:, num_visible:], ids_restore, mask)

    @classmethod
    def from_mask(cls, mask, num_visible: int | None = None) -> Mask:
        """The partition of a given mask.

        Args:
            mask: tensor `(B, L)`, bool or number, 1 = masked; the same number of ones in every row, not all ones.
            num_visible: the number of zeros in a row if it is known; shapes are then static, as XLA needs.

        Raises:
            ValueError: (`tf.errors.InvalidArgumentError` inside a `tf.function`) if rows differ in their number of
                visible patches, it is not `num_visible`, or it is 0. XLA removes such checks: there the mask becomes
                NaN, and so does the loss.
        """
        mask = tf.cast(mask, tf.float32)
        counts = tf.reduce_sum(1.0 - mask, axis=1)  # (B,) visible patches
        expected = counts[:1] if num_visible is None else tf.constant([num_visible], tf.float32)
        fine = tf.reduce_all(tf.equal(counts, expected)) & tf.reduce_all(expected >= 1)
        fine &= tf.reduce_all(tf.equal(mask, 0) | tf.equal(mask, 1))
        message = (
            "a mask holds 0 (visible) and 1 (masked) with the same number of ones in every row, and at least one "
            "visible patch" + (f"; {num_visible} visible patches a row were expected" if num_visible else "")
        )
        if tf.executing_eagerly():
            if not fine:
                rows = sorted({int(count) for count in counts.numpy()})
                raise ValueError(f"{message}; got rows with {rows} visible patches of {mask.shape[1]}")
            num_visible = int(expected[0]) if num_visible is None else num_visible
        else:
            with tf.control_dependencies([tf.debugging.Assert(fine, [message, counts])]):
                mask = tf.identity(mask)
            num_visible = tf.cast(expected[0], tf.int32) if num_visible is None else num_visible
        partition = cls.from_noise(mask, num_visible)
        return partition._replace(mask=tf.where(fine, mask, float("nan")))


class MaskSampler(abc.ABC):
    """Draws a mask for each example. Subclasses implement `noise`, by which patches are sorted.

    Args:
        mask_ratio: share of the patches that is masked, in [0, 1). It may be set again on a built model, for the next
            call of `fit`, `evaluate` or `predict`, or be passed in a call.
    """

    def __init__(self, mask_ratio: float) -> None:
        self.mask_ratio = mask_ratio

    @property
    def mask_ratio(self) -> float:
        """Share of the patches that is masked."""
        return self._mask_ratio

    @mask_ratio.setter
    def mask_ratio(self, mask_ratio: float) -> None:
        self._mask_ratio = self.checked_ratio(mask_ratio)

    def checked_ratio(self, mask_ratio: float) -> float:
        """The ratio as a float; a ValueError if the sampler cannot have it."""
        given: Any = mask_ratio  # not always as annotated
        if isinstance(given, bool) or not isinstance(given, numbers.Real) or not 0 <= mask_ratio < 1:
            raise ValueError(
                f"a mask ratio lies in [0, 1), 0.75 masks three quarters of the patches; got {mask_ratio!r}"
            )
        return float(mask_ratio)

    def attach(self, geometry: Geometry) -> None:
        """Sets the sizes of a model, which calls this once.

        Raises:
            ValueError: if its patches cannot be masked, or the ratio leaves none of them visible.
        """
        self.num_visible(geometry.num_patches)

    def num_visible(self, num_patches: int, mask_ratio: float | None = None) -> int:
        """`int(num_patches * (1 - mask_ratio))`, as in MAE: 196 patches at 0.75 leave 49.

        Raises:
            ValueError: if the ratio lies outside [0, 1) or leaves no visible patch.
        """
        ratio = self.ratio_or_own(mask_ratio)
        visible = int(num_patches * (1 - ratio))
        if visible < 1 and num_patches == 1:
            raise ValueError("an image of one patch has none to mask; choose smaller patches, or larger images")
        if visible < 1:
            largest = largest_ratio(num_patches, lambda ratio: int(num_patches * (1 - ratio)))
            raise ValueError(
                f"a mask ratio of {ratio} leaves none of the {num_patches} patches visible; the largest that leaves "
                f"one is {largest}"
            )
        return visible

    def ratio_or_own(self, mask_ratio: float | None) -> float:
        """A call's ratio, checked, or for None the sampler's own."""
        return self.mask_ratio if mask_ratio is None else self.checked_ratio(mask_ratio)

    @abc.abstractmethod
    def noise(self, grid: tuple[int, int], batch_size, seed: ExampleSeed, mask_ratio: float) -> tf.Tensor:
        """Float `(B, rows * columns)`: patches with the smallest numbers stay visible.

        `mask_ratio` is that of the mask; most samplers ignore it.
        """

    def __call__(self, grid: tuple[int, int], batch_size, seed: ExampleSeed, mask_ratio: float | None = None) -> Mask:
        """Draws a mask for each of `batch_size` examples.

        Args:
            grid: number of patch rows and columns.
            batch_size: integer scalar.
            seed: determines the draw.
            mask_ratio: for this call, in place of the sampler's own.

        Returns:
            A `Mask` with static shapes if `batch_size` is static.
        """
        num_visible = self.num_visible(grid[0] * grid[1], mask_ratio)
        noise = self.noise(grid, batch_size, seed.fold_in(Purpose.MASK), self.ratio_or_own(mask_ratio))
        return Mask.from_noise(noise, num_visible)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.get_config().items())})"

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"mask_ratio": self.mask_ratio}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskSampler:
        """The inverse of `get_config`."""
        return cls(**config)


def largest_ratio(count: int, num_visible: Callable[[float], int]) -> str:
    """The largest mask ratio that leaves one of `count` visible, in four decimals or as many as `count` needs.

    It is `1 - 1 / count`, rounded down so far that rounding in `num_visible` cannot leave none.
    """
    digits = max(4, len(str(count)))
    steps = math.floor((1 - 1 / count) * 10**digits)
    while True:
        largest = f"{steps / 10**digits:.{digits}f}"
        if num_visible(float(largest)) >= 1 or not steps:
            return largest
        steps -= 1
