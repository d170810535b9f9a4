"""Masking in units of several patches, under the contract of all samplers and as SimMIM counts."""

import math

import numpy as np
import pytest
from hypothesis import strategies as st

from keras_mae.masking import UnitMasking
from tests.base import geometry
from tests.contracts import MaskSamplerContract


def of_grid(grid, patch_size):
    return geometry((grid[0] * patch_size[0], grid[1] * patch_size[1], 3), patch_size)


class TestUnitMasking(MaskSamplerContract):
    """Units of 32 pixels on patches 32 high and 16 wide: 1 x 2 patches, so that a swap of the two is seen."""

    grids = st.tuples(st.integers(1, 5), st.integers(1, 3).map(lambda units: 2 * units))
    patches_at_once = 2

    def make(self, mask_ratio):
        sampler = UnitMasking(32, mask_ratio)
        sampler.attach(of_grid((1000, 1000), (32, 16)))  # a large grid, of which any ratio here leaves some
        return sampler

    def visible(self, patches, mask_ratio):
        units = patches // 2
        return 2 * (units - math.ceil(units * mask_ratio))

    def test_units_are_masked_whole(self):
        mask = self.draw(0.5, grid=(3, 6), batch_size=50).mask.reshape(50, 3, 3, 2)
        np.testing.assert_array_equal(mask[..., 0], mask[..., 1])
        assert len(np.unique(mask[..., 0].reshape(50, 9), axis=0)) > 20  # of 126


def test_counts_of_the_paper():
    """224 pixels: 49 units of 32, of which ceil(29.4) = 30 are masked; with patches of 16, four in a unit."""
    for patch, patches_in_unit in ((32, 1), (16, 4)):
        sampler = UnitMasking(unit=32, mask_ratio=0.6)
        grid = (224 // patch, 224 // patch)
        sampler.attach(of_grid(grid, (patch, patch)))
        assert sampler.num_visible(grid[0] * grid[1]) == 19 * patches_in_unit


def test_a_unit_of_one_patch():
    sampler = UnitMasking(16, 0.8)
    sampler.attach(of_grid((14, 14), (16, 16)))
    assert sampler.num_visible(196) == 196 - 157  # ceil(156.8)


@pytest.mark.parametrize(
    ("unit", "grid", "patch_size", "message"),
    [
        (24, (14, 14), (16, 16), "of its width, 16 x 16: got 24 pixels; set unit to a multiple of 16"),
        (32, (14, 14), (16, 24), "set unit to a multiple of 48"),
        (32, (7, 7), (16, 16), "2 x 2 patches, do not fill a grid of 7 x 7 patches"),
        (64, (5, 3), (32, 64), "2 x 1 patches, do not fill a grid of 5 x 3"),
    ],
)
def test_what_does_not_divide(unit, grid, patch_size, message):
    with pytest.raises(ValueError, match=message):
        UnitMasking(unit, 0.5).attach(of_grid(grid, patch_size))


@pytest.mark.parametrize("unit", [0, -16, 16.0, "16"])
def test_a_unit_is_a_number_of_pixels(unit):
    with pytest.raises(ValueError, match="positive number of pixels of its side, such as 32; got"):
        UnitMasking(unit, 0.5)


def test_needs_the_size_of_a_patch():
    sampler = UnitMasking(32, 0.6)
    with pytest.raises(ValueError, match="pass the sampler to a model, or call attach"):
        sampler.num_visible(196)
    sampler.attach(of_grid((14, 14), (16, 16)))
    sampler.attach(of_grid((28, 28), (16, 16)))  # another grid of the same patches
    with pytest.raises(ValueError, match="make another sampler"):
        sampler.attach(of_grid((14, 14), (8, 8)))


def test_a_ratio_that_leaves_no_unit():
    with pytest.raises(ValueError, match="0.9 leaves none of the 4 units of 32 pixels visible; .* is 0.7500"):
        UnitMasking(32, 0.9).attach(of_grid((4, 4), (16, 16)))
