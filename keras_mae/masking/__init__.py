"""Mask samplers, which draw the patches to mask."""

from keras_mae import _backend  # noqa: F401
from keras_mae.masking.block_masking import BlockMasking
from keras_mae.masking.grid_masking import GridMasking
from keras_mae.masking.mask_sampler import Mask, MaskSampler
from keras_mae.masking.random_masking import RandomMasking
from keras_mae.masking.unit_masking import UnitMasking

__all__ = ["BlockMasking", "GridMasking", "Mask", "MaskSampler", "RandomMasking", "UnitMasking"]
