"""Which patches the encoder sees."""

from keras_mae import _backend  # noqa: F401
from keras_mae.masking.mask_sampler import Mask, MaskSampler
from keras_mae.masking.random_masking import RandomMasking

__all__ = ["Mask", "MaskSampler", "RandomMasking"]
