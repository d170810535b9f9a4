"""Grid masking under the contract of all samplers."""

import numpy as np
import pytest
from hypothesis import strategies as st

from keras_mae.example_seed import ExampleSeed
from keras_mae.masking import GridMasking
from tests.contracts import MaskSamplerContract


class TestGridMasking(MaskSamplerContract):
    """The contract on a grid with even sides, as on odd ones a quarter is not what is regular."""

    grid = (4, 6)
    grids = st.tuples(st.integers(2, 7), st.integers(2, 7))
    ratios = st.just(0.75)
    other_ratio = 0.75

    def make(self, mask_ratio):
        return GridMasking(mask_ratio)

    def test_ratio_edges(self):
        for ratio in (0.0, 0.5, 0.7499, 1.0):
            with pytest.raises(ValueError, match="one of every four patches, a mask ratio of 0.75; got"):
                self.make(ratio)
        with pytest.raises(ValueError, match="0.75 leaves none of the 3 patches visible"):
            self.draw(grid=(3, 1))

    def test_the_largest_ratio_that_is_named_is_taken(self):
        with pytest.raises(ValueError, match="none of the 3 patches visible; a grid mask needs four or more"):
            GridMasking().num_visible(3)
        assert [GridMasking().num_visible(patches) for patches in (4, 7, 8, 196)] == [1, 1, 2, 49]

    def test_the_ratio_can_be_set_and_passed(self):
        sampler = GridMasking()
        for ratio in (0.75, None):
            assert sampler(self.grid, 2, ExampleSeed.of(0, 0), mask_ratio=ratio).ids_keep.shape == (2, 6)
        with pytest.raises(ValueError, match="a mask ratio of 0.75"):
            sampler(self.grid, 2, ExampleSeed.of(0, 0), mask_ratio=0.5)
        with pytest.raises(ValueError, match="a mask ratio of 0.75"):
            sampler.mask_ratio = 0.5

    def test_the_same_one_of_every_two_by_two_is_visible(self):
        visible = 1 - self.draw(batch_size=200).mask.reshape(200, 2, 2, 3, 2)  # block row, row, block column, column
        np.testing.assert_array_equal(visible.sum(axis=(2, 4)), 1)
        np.testing.assert_array_equal(visible, np.broadcast_to(visible[:, :1, :, :1], visible.shape))
        # each of the four is Binomial(200, 1/4): 50 +- 6.1, within 5 sigma
        assert (np.abs(visible[:, 0, :, 0].sum(axis=0) - 50) < 31).all()

    def test_odd_sides_leave_out_or_add_some_at_random(self):
        """7 x 7 patches, of which 12 are visible: the regular ones are 4 x 4, 4 x 3, 3 x 4 or 3 x 3."""
        masks = 1 - self.draw(grid=(7, 7), batch_size=100).mask.reshape(100, 7, 7)
        corners = [(row, column) for row in (0, 1) for column in (0, 1)]
        regular = np.array([[mask[row::2, column::2].sum() for row, column in corners] for mask in masks])
        assert set(regular.max(axis=1)) == {9.0, 12.0} and set(masks.sum(axis=(1, 2))) == {12.0}
