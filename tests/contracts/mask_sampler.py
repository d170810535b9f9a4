"""What every mask sampler must keep."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_mae.example_seed import ExampleSeed

GRID = (3, 4)  # not square: a sampler that swaps rows and columns is seen


class MaskSamplerContract:
    """Contract of a `MaskSampler`; subclasses implement `make`, and override what is another for them."""

    uniform_marginals = True  # whether every patch is masked equally often
    grid = GRID
    grids = st.tuples(st.integers(1, 5), st.integers(1, 5))
    ratios = st.floats(0, 0.99, allow_nan=False)
    ratio, other_ratio = 0.75, 0.5
    patches_at_once = 1  # masked or visible together

    def make(self, mask_ratio):
        """The sampler under test."""
        raise NotImplementedError

    def visible(self, patches, mask_ratio):
        """How many patches stay visible."""
        return int(patches * (1 - mask_ratio))  # the definition: int, not round

    def draw(self, mask_ratio=None, grid=None, batch_size=8, seed=0, step=0):
        sampler = self.make(self.ratio if mask_ratio is None else mask_ratio)
        mask = sampler(grid or self.grid, batch_size, ExampleSeed.of(seed, step))
        return type(mask)(*(tensor.numpy() for tensor in mask))

    @settings(suppress_health_check=[HealthCheck.differing_executors])  # one function, which every subclass runs
    @given(data=st.data(), step=st.integers(0, 1000))
    def test_is_a_partition_with_exact_counts_for_any_grid_and_ratio(self, data, step):
        grid, mask_ratio = data.draw(self.grids), data.draw(self.ratios)
        patches = grid[0] * grid[1]
        visible = self.visible(patches, mask_ratio)
        if visible < 1:
            with pytest.raises(ValueError, match="leaves none of the|has none to mask"):
                self.draw(mask_ratio, grid)
            return
        mask = self.draw(mask_ratio, grid, batch_size=3, step=step)
        assert mask.ids_keep.shape == (3, visible) and mask.ids_masked.shape == (3, patches - visible)
        for row in range(3):
            shuffled = np.concatenate([mask.ids_keep[row], mask.ids_masked[row]])
            assert sorted(shuffled) == list(range(patches))
            np.testing.assert_array_equal(shuffled[mask.ids_restore[row]], np.arange(patches))
            np.testing.assert_array_equal(mask.mask[row][mask.ids_keep[row]], 0)
            np.testing.assert_array_equal(mask.mask[row][mask.ids_masked[row]], 1)

    def test_types(self):
        mask = self.draw()
        assert [tensor.dtype.name for tensor in mask] == ["int32", "int32", "int32", "float32"]

    def test_ratio_edges(self):
        patches = self.grid[0] * self.grid[1]
        everything = self.draw(mask_ratio=0.0)
        assert everything.mask.sum() == 0 and everything.ids_masked.shape == (8, 0)
        one_left = self.draw(mask_ratio=1 - self.patches_at_once / patches - 1e-9)
        assert one_left.ids_keep.shape == (8, self.patches_at_once)
        with pytest.raises(ValueError, match=f"leaves none of the {patches // self.patches_at_once} "):
            self.draw(mask_ratio=0.99)
        for ratio in (1.0, -0.1, 1.5):
            with pytest.raises(ValueError, match=r"a mask ratio lies in \[0, 1\)"):
                self.make(ratio)

    def test_the_ratio_can_be_set_and_passed(self):
        sampler, patches = self.make(0.75), self.grid[0] * self.grid[1]
        passed = sampler(self.grid, 2, ExampleSeed.of(0, 0), mask_ratio=0.5)
        assert passed.ids_keep.shape == (2, self.visible(patches, 0.5))
        sampler.mask_ratio = 0.25
        assert sampler(self.grid, 2, ExampleSeed.of(0, 0)).ids_keep.shape == (2, self.visible(patches, 0.25))
        for wrong in (1.0, -0.5):
            with pytest.raises(ValueError, match=r"a mask ratio lies in \[0, 1\)"):
                sampler(self.grid, 2, ExampleSeed.of(0, 0), mask_ratio=wrong)
            with pytest.raises(ValueError, match=r"a mask ratio lies in \[0, 1\)"):
                sampler.mask_ratio = wrong

    def test_another_ratio_in_a_call_is_that_of_a_sampler_made_with_it(self):
        seed, ratios = ExampleSeed.of(3, 1), (self.ratio, self.other_ratio)
        for own, passed in (ratios, ratios[::-1]):
            called, made = self.make(own)(self.grid, 50, seed, passed), self.make(passed)(self.grid, 50, seed)
            for one, other in zip(called, made, strict=True):
                np.testing.assert_array_equal(one, other)

    def test_the_largest_ratio_that_is_named_is_taken(self):
        for grid in ((1, 2), (1, 3), (1, 5), (2, 5), (7, 7), (10, 10), (14, 14), (37, 113), (100, 300)):
            sampler = self.make(self.ratio)
            patches = grid[0] * grid[1] * self.patches_at_once
            with pytest.raises(ValueError, match="the largest that leaves one is ") as error:
                sampler.num_visible(patches, 1 - 1e-9)
            digits = str(error.value).rsplit(" ", 1)[1]
            assert sampler.num_visible(patches, float(digits)) >= self.patches_at_once
            if float(digits):  # and nothing larger of as many digits leaves one
                above = float(digits) + 10.0 ** -len(digits.split(".")[1])
                with pytest.raises(ValueError, match="leaves none of the|lies in"):
                    sampler.num_visible(patches, above)

    def test_repr_is_the_call_that_makes_it(self):
        sampler = self.make(self.ratio)
        assert repr(sampler).endswith(f"mask_ratio={self.ratio})") and repr(sampler).startswith(type(sampler).__name__)

    @pytest.mark.parametrize("wrong", ["0.75", True, None, [0.5], float("nan")])
    def test_a_ratio_is_a_number(self, wrong):
        with pytest.raises(ValueError, match="a mask ratio"):
            self.make(self.ratio).mask_ratio = wrong

    def test_the_draw_is_a_function_of_seed_and_step(self):
        first = self.draw(seed=1, step=2)
        np.testing.assert_array_equal(first.ids_keep, self.draw(seed=1, step=2).ids_keep)
        assert (first.ids_keep != self.draw(seed=2, step=2).ids_keep).any()
        assert (first.ids_keep != self.draw(seed=1, step=3).ids_keep).any()

    def test_examples_differ_and_do_not_depend_on_the_split(self):
        whole = self.draw(batch_size=8)
        assert len(np.unique(whole.mask, axis=0)) > 1
        halves = [self.make(self.ratio)(self.grid, 4, ExampleSeed.of(0, 0, first)).ids_keep for first in (0, 4)]
        np.testing.assert_array_equal(whole.ids_keep, np.concatenate(halves))

    def test_marginals_are_uniform(self):
        """False-alarm rate: at most 24 patches x P(|z| > 5) = 24 x 5.7e-7 = 1.4e-5, were the seed drawn anew."""
        if not self.uniform_marginals:
            return
        draws, patches = 4000, self.grid[0] * self.grid[1]
        share = 1 - self.visible(patches, self.ratio) / patches
        counts = self.draw(batch_size=draws).mask.sum(axis=0)  # each Binomial(draws, share)
        z = (counts - draws * share) / np.sqrt(draws * share * (1 - share))
        assert np.abs(z).max() < 5, counts

    def test_static_shapes(self):
        patches = self.grid[0] * self.grid[1]
        visible = self.visible(patches, self.ratio)
        draw = tf.function(lambda: tuple(self.make(self.ratio)(self.grid, 8, ExampleSeed.of(0, 0))))
        shapes = [tuple(tensor.shape) for tensor in draw.get_concrete_function().outputs]
        assert shapes == [(8, visible), (8, patches - visible), (8, patches), (8, patches)]

    def test_same_under_xla(self):
        sampler = self.make(self.ratio)

        @tf.function(jit_compile=True)
        def draw(step):
            return tuple(sampler(self.grid, 8, ExampleSeed.of(0, step)))

        for step in (0, 7):
            for compiled, eager in zip(draw(tf.constant(step)), self.draw(step=step), strict=True):
                np.testing.assert_array_equal(compiled, eager)

    def test_config_round_trip(self):
        sampler = self.make(self.ratio)
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sampler))
        assert type(copy) is type(sampler) and copy.get_config() == sampler.get_config()
