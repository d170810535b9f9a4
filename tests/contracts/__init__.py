"""What every mask sampler, every target, every encoder and every decoder must keep, as base classes of tests.

To put a new one under its contract, subclass here and say how to make one:

    class TestRandomMasking(MaskSamplerContract):
        def make(self, mask_ratio):
            return RandomMasking(mask_ratio)
"""

from tests.contracts.decoder import DecoderContract
from tests.contracts.encoder import EncoderContract
from tests.contracts.mask_sampler import GRID, MaskSamplerContract
from tests.contracts.target import TargetContract

__all__ = ["GRID", "DecoderContract", "EncoderContract", "MaskSamplerContract", "TargetContract"]
