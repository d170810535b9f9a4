"""Random masking under the contract of all samplers."""

import numpy as np

from keras_mae.masking import RandomMasking
from tests.contracts import GRID, MaskSamplerContract


class TestRandomMasking(MaskSamplerContract):
    """The contract, and what is random masking's own."""

    def make(self, mask_ratio):
        return RandomMasking(mask_ratio)

    def test_paper_size(self):
        assert RandomMasking(0.75).num_visible(196) == 49

    def test_pairs_of_patches_are_masked_independently_of_distance(self):
        """Without replacement, any two patches are masked together equally often.

        False-alarm rate: 66 pairs x P(|z| > 5) = 66 x 5.7e-7 = 4e-5, were the seed drawn anew each time.
        """
        draws, masked, patches = 4000, 9, GRID[0] * GRID[1]
        mask = self.draw(0.75, batch_size=draws).mask
        together = (mask.T @ mask)[np.triu_indices(patches, 1)]
        expected = masked * (masked - 1) / (patches * (patches - 1))
        z = (together - draws * expected) / np.sqrt(draws * expected * (1 - expected))
        assert np.abs(z).max() < 5
