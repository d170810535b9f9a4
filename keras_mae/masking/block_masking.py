"""BEiT's masking of large blocks."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.masking.mask_sampler import MaskSampler

_NUM_BLOCKS = 24
_SMALLEST = 16 / 196  # BEiT's 16 patches of 14 x 14, as a share of the image
_ASPECTS = (0.3, 1 / 0.3)
_STEPS = 32  # of the area, and of the aspect


@keras.saving.register_keras_serializable(package="keras_mae")
class BlockMasking(MaskSampler):
    """Masks rectangles until the ratio is reached: it "tends to remove large blocks".

    A block's area is uniform between 8 % of the image and the mask ratio, its aspect (height / width) log-uniform in
    [0.3, 1 / 0.3], its place uniform; blocks overlap. BEiT rejects blocks that exceed the missing number of patches.
    Here the last block is cut to that number, its middle first: the count is exact, and every example takes the same 24
    blocks, as a compiled graph needs. If they do not suffice, further patches are masked at random.

    Args:
        mask_ratio: share of the patches that is masked, in [0, 1).

    Reference: arXiv 2106.08254, algorithm 1; arXiv 2111.06377, Table 1f, "block".
    """

    def __init__(self, mask_ratio: float = 0.75) -> None:
        super().__init__(mask_ratio)

    def noise(self, grid: tuple[int, int], batch_size, seed: ExampleSeed, mask_ratio: float) -> tf.Tensor:
        """Larger for patches of earlier blocks, and near a block's middle.

        Products are exact or rounded once, whatever the compiler fuses: the mask is the same with and without XLA.
        """
        rows, columns = grid
        draws = seed.fold_in(0).uniform(batch_size, (_NUM_BLOCKS, 3))
        sizes = tf.gather(self._sizes(grid, mask_ratio), tf.cast(draws[..., 0] * _STEPS**2, tf.int32))  # (B, blocks, 2)
        corners = tf.floor(draws[..., 1:] * (tf.constant([rows, columns], tf.float32) - sizes + 1))
        # distance of a row or column from a block's middle, in units of half the block's side: below 1 inside
        from_row, from_column = (
            tf.abs(2 * (tf.range(side, dtype=tf.float32) - corners[..., axis, None]) + 1 - sizes[..., axis, None])
            / sizes[..., axis, None]
            for axis, side in enumerate(grid)
        )
        distance = tf.maximum(from_row[..., :, None], from_column[..., None, :])
        distance = tf.reshape(distance, [batch_size, _NUM_BLOCKS, rows * columns])  # (B, blocks, L)
        turn = tf.range(_NUM_BLOCKS, 0, -1, dtype=tf.float32)[:, None] - distance / 2
        first = tf.reduce_max(tf.where(distance < 1, turn, 0.0), axis=1)  # (B, L), 0 where no block is
        return first + seed.uniform(batch_size, (rows * columns,)) / 64  # breaks ties within a block at random

    def _sizes(self, grid: tuple[int, int], mask_ratio: float) -> np.ndarray:
        """Heights and widths of equally likely blocks: float32 `(steps^2, 2)`."""
        steps = (np.arange(_STEPS) + 0.5) / _STEPS
        area = grid[0] * grid[1] * (_SMALLEST + steps * max(mask_ratio - _SMALLEST, 0.0))
        log_low, log_high = map(math.log, _ASPECTS)
        aspect = np.exp(log_low + steps * (log_high - log_low))
        area, aspect = (x.ravel() for x in np.meshgrid(area, aspect))
        sides = np.round(np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], axis=-1))
        return np.clip(sides, 1, grid).astype("float32")
