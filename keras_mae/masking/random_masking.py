"""Uniform random masking."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.masking.mask_sampler import MaskSampler


@keras.saving.register_keras_serializable(package="keras_mae")
class RandomMasking(MaskSampler):
    """Masks a uniformly random subset of the patches, "without replacement, following a uniform distribution".

    Args:
        mask_ratio: share of the patches that is masked, in [0, 1).

    Example:

    >>> mask = RandomMasking(0.75)(grid=(14, 14), batch_size=8, seed=ExampleSeed.for_step(0, 0, 8))
    >>> mask.ids_keep.shape
    TensorShape([8, 49])

    Reference: arXiv 2111.06377, section 3, "Masking"; Table 1f, "random".
    """

    def __init__(self, mask_ratio: float = 0.75) -> None:
        super().__init__(mask_ratio)

    def noise(self, grid: tuple[int, int], batch_size, seed: ExampleSeed, mask_ratio: float) -> tf.Tensor:
        """Independent uniform numbers, one for each patch."""
        return seed.uniform(batch_size, (grid[0] * grid[1],))
