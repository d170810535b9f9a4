"""Block-wise masking under the contract of all samplers, and its blocks against a slow version."""

import numpy as np
import pytest

from keras_mae.example_seed import ExampleSeed, Purpose
from keras_mae.masking import BlockMasking, RandomMasking
from tests.contracts import MaskSamplerContract


class TestBlockMasking(MaskSamplerContract):
    """The contract, and what is block-wise masking's own."""

    uniform_marginals = False  # more blocks cover the middle than the corners

    def make(self, mask_ratio):
        return BlockMasking(mask_ratio)

    @pytest.mark.parametrize("grid", [(14, 14), (7, 9)])
    def test_masks_whole_rectangles_in_turn_until_the_count_is_reached(self, grid):
        """Of the same draws, one block after the other: each but the last is masked whole."""
        sampler, seed = BlockMasking(0.6), ExampleSeed.of(3, 1)
        masks = sampler(grid, 20, seed).mask.numpy().reshape(20, *grid)
        sizes = sampler._sizes(grid, 0.6)
        for mask, draws in zip(
            masks, seed.fold_in(Purpose.MASK).fold_in(0).uniform(20, (24, 3)).numpy().astype(float), strict=True
        ):
            covered, wanted = np.zeros(grid), round(mask.sum())
            for size_draw, *place_draws in draws:
                sides = sizes[int(size_draw * len(sizes))].astype(int)
                top, left = (int(draw * (whole - side + 1)) for draw, whole, side in zip(place_draws, grid, sides))
                with_it = covered.copy()
                with_it[top : top + sides[0], left : left + sides[1]] = 1
                if with_it.sum() > wanted:
                    break
                covered = with_it
            assert (mask >= covered).all()  # all blocks before the last
            rest = mask - covered
            assert (with_it >= mask).all(), "what is masked beside lies in the last block"
            assert rest.sum() == wanted - covered.sum()

    def test_sizes_have_the_areas_and_aspects_of_the_definition(self):
        heights, widths = BlockMasking(0.75)._sizes((100, 100), 0.75).T  # fine enough that rounding matters little
        areas, aspects = heights * widths / 1e4, heights / widths
        whole = (heights < 100) & (widths < 100)
        assert 0.08 < areas.min() < 0.1 and 0.7 < areas.max() < 0.75
        assert 0.29 < aspects[whole].min() < 0.33 and 3.0 < aspects[whole].max() < 3.4

    def test_neighbours_share_their_fate_more_often_than_at_random(self):
        def agreement(sampler):
            mask = sampler((14, 14), 50, ExampleSeed.of(0, 0)).mask.numpy().reshape(50, 14, 14)
            return (mask[:, 1:] == mask[:, :-1]).mean()

        # at random, 0.75^2 + 0.25^2 = 0.625
        assert agreement(BlockMasking(0.75)) > 0.85 > 0.66 > agreement(RandomMasking(0.75))
