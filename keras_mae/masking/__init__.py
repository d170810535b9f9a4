"""Which patches the encoder sees."""

from keras_mae import _backend  # noqa: F401
from keras_mae.masking.block_masking import BlockMasking
from keras_mae.masking.blockwise_masking import BlockwiseMasking
from keras_mae.masking.grid_masking import GridMasking
from keras_mae.masking.mask_sampler import Mask, MaskSampler
from keras_mae.masking.random_masking import RandomMasking

# by name, for configs; each takes mask_ratio
SAMPLERS: dict[str, type[MaskSampler]] = {
    "random": RandomMasking,
    "units": BlockMasking,
    "blocks": BlockwiseMasking,
    "grid": GridMasking,
}

__all__ = ["SAMPLERS", "BlockMasking", "BlockwiseMasking", "GridMasking", "Mask", "MaskSampler", "RandomMasking"]
