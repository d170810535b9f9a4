"""Random masking under the contract of all samplers."""

import numpy as np
import pytest

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

    def test_the_message_of_five_patches(self):
        """1 - 1/5 leaves none: 5 * (1 - 0.8) is a little below 1."""
        with pytest.raises(ValueError, match="0.8 leaves none of the 5 patches visible; .* leaves one is 0.7999"):
            RandomMasking(0.8).num_visible(5)
        assert RandomMasking(0.7999).num_visible(5) == 1
