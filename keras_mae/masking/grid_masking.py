"""Regular masking, which keeps one of every 2 x 2 patches."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.masking.mask_sampler import MaskSampler

_RATIO = 0.75


@keras.saving.register_keras_serializable(package="keras_mae")
class GridMasking(MaskSampler):
    """Keeps the same one of every 2 x 2 patches, "which regularly keeps one of every four patches".

    The one of the four is drawn for each example, so that the encoder sees every position; the paper does not say. On
    a grid with an odd side a quarter of the patches (rounded down) is visible too: regular ones, with some random
    patches more or fewer.

    Args:
        mask_ratio: 0.75, the only value; for the same interface as other samplers.

    Reference: arXiv 2111.06377, Figure 6; Table 1f, "grid".
    """

    def __init__(self, mask_ratio: float = _RATIO) -> None:
        super().__init__(mask_ratio)

    def checked_ratio(self, mask_ratio: float) -> float:
        """The ratio 0.75; a ValueError for any other."""
        if mask_ratio != _RATIO:
            raise ValueError(f"a grid mask keeps one of every four patches, a mask ratio of 0.75; got {mask_ratio!r}")
        return super().checked_ratio(mask_ratio)

    def num_visible(self, num_patches: int, mask_ratio: float | None = None) -> int:
        """A quarter of the patches, rounded down."""
        self.ratio_or_own(mask_ratio)
        if num_patches < 4:
            raise ValueError(
                f"a mask ratio of 0.75 leaves none of the {num_patches} patches visible; a grid mask needs four or more"
            )
        return num_patches // 4

    def noise(self, grid: tuple[int, int], batch_size, seed: ExampleSeed, mask_ratio: float) -> tf.Tensor:
        """Uniform numbers, in [0, 1) for the regular patches and in [1, 2) for the others."""
        draws = seed.fold_in(0).uniform(batch_size, (2,))  # (B, 2)
        on_row, on_column = (
            tf.equal(tf.range(side) % 2, tf.cast(draws[:, axis : axis + 1] < 0.5, tf.int32))  # (B, side)
            for axis, side in enumerate(grid)
        )
        regular = tf.reshape(on_row[:, :, None] & on_column[:, None, :], [batch_size, grid[0] * grid[1]])
        return seed.uniform(batch_size, (grid[0] * grid[1],)) + tf.where(regular, 0.0, 1.0)
