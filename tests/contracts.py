"""What every mask sampler, every target and every encoder must keep, as base classes of tests.

To put a new one under its contract, subclass here and say how to make one:

    class TestRandomMasking(MaskSamplerContract):
        def make(self, mask_ratio):
            return RandomMasking(mask_ratio)
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import Patchify
from keras_mae.losses import MaskedCrossEntropy, MaskedMeanSquaredError
from tests.base import geometry, random_images

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


class TargetContract:
    """Contract of a `Target`; subclasses implement `make`."""

    image_shape, patch_size = (6, 8, 2), (3, 2)
    invertible = True  # whether the images can be had back from the target
    discrete = False  # whether the target is one integer a patch, and not `dim` numbers

    def make(self):
        """The target under test."""
        raise NotImplementedError

    def attached(self):
        target = self.make()
        target.attach(geometry(self.image_shape, self.patch_size, (0.4, 0.6), (0.2, 0.3)))
        target.fit(random_images(20, self.image_shape, seed=2))  # most have nothing to learn
        return target

    @pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
    def test_static_dim_shape_and_type(self, dtype):
        target, images = self.attached(), random_images(3, self.image_shape, dtype=dtype)
        assert isinstance(target.dim, int)
        values = target(images)
        of_patch, expected_dtype = ((), tf.int32) if self.discrete else ((target.dim,), tf.float32)
        assert values.shape == (3, 8, *of_patch) and values.dtype == expected_dtype
        call = tf.function(target).get_concrete_function(tf.TensorSpec([None, *self.image_shape], dtype))
        assert tuple(call.outputs[0].shape)[1:] == (8, *of_patch)

    def test_images_of_16_bits_are_their_levels(self):
        target = self.attached()
        images = np.random.default_rng(3).integers(0, 2**16, (3, *self.image_shape)).astype("uint16")
        levels = images / np.float32(257)
        np.testing.assert_array_equal(target(images), target(levels))
        if target.has_pixels:
            prediction = target(images)
            np.testing.assert_array_equal(target.to_pixels(prediction, images), target.to_pixels(prediction, levels))

    def test_rows_belong_to_their_patches(self):
        """Changing one patch changes its row of the target and no other."""
        target, images = self.attached(), random_images(1, self.image_shape)
        changed = images.copy()
        changed[0, 3:6, 2:4] = random_images(1, (3, 2, 2), seed=9)[0]  # patch row 1, column 1: number 5
        differs = np.reshape(target(images) != target(changed), (8, -1)).any(axis=-1)
        np.testing.assert_array_equal(differs, np.arange(8) == 5)

    @pytest.mark.parametrize("images", ["random", "constant"])
    def test_its_loss_has_finite_gradients(self, images):
        target = self.attached()
        assert target.gives_tokens == self.discrete
        # patches without any contrast have a variance of exactly zero
        images = (
            np.full((2, *self.image_shape), 200, "uint8")
            if images == "constant"
            else random_images(2, self.image_shape)
        )
        prediction = tf.Variable(tf.random.stateless_normal((2, 8, target.dim), [1, 2]))
        with tf.GradientTape() as tape:
            loss = (MaskedCrossEntropy() if self.discrete else MaskedMeanSquaredError())(target(images), prediction)
        assert np.isfinite(loss) and np.isfinite(tape.gradient(loss, prediction)).all()

    def test_to_pixels_inverts_call(self):
        if not self.invertible:
            return
        target, images = self.attached(), random_images(3, self.image_shape)
        pixels = target.to_pixels(target(images), images)
        # a few float32 roundings of numbers up to 255, each of 1.5e-5
        np.testing.assert_allclose(pixels, Patchify(self.patch_size)(images).numpy().astype("float32"), atol=2e-3)

    def test_belongs_to_one_geometry(self):
        target = self.attached()
        target.attach(geometry(self.image_shape, self.patch_size, (0.4, 0.6), (0.2, 0.3), hidden_dim=8))
        with pytest.raises(ValueError, match="make another target"):
            target.attach(geometry((9, 8, 2), self.patch_size, (0.4, 0.6), (0.2, 0.3)))

    def test_config_round_trip(self):
        target = self.make()
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(target))
        assert type(copy) is type(target) and copy.get_config() == target.get_config()


class EncoderContract:
    """Contract of an `Encoder`; subclasses implement `make`."""

    image_shape = (8, 12, 3)
    drops_patches = True  # whether `ids_keep` may leave patches out

    def make(self, **arguments):
        """The encoder under test, for images of `image_shape`, every weight random, with these arguments of Keras'."""
        raise NotImplementedError

    @property
    def images(self):
        return random_images(4, self.image_shape)

    def test_shapes_and_types(self):
        encoder = self.make()
        rows, columns = encoder.grid
        width, count = encoder.hidden_dim, rows * columns
        assert encoder.built and encoder.image_shape == self.image_shape and encoder.num_patches == count
        tokens = encoder.encode(self.images)
        assert tokens.prefix.shape == (4, encoder.num_prefix_tokens, width) and tokens.patches.shape == (
            4,
            count,
            width,
        )
        outputs = encoder(self.images)
        np.testing.assert_array_equal(outputs["patch_tokens"], tokens.patches)
        assert outputs["cls_token"].shape == (4, width)
        call = tf.function(encoder).get_concrete_function(tf.TensorSpec((None, *self.image_shape), tf.uint8))
        assert call.structured_outputs["patch_tokens"].shape.as_list() == [None, count, width]

    def test_levels_are_levels_whatever_their_type(self):
        encoder, images = self.make(), self.images
        for same in (images.astype("float32"), images.astype("uint16") * np.uint16(257)):
            np.testing.assert_allclose(encoder(same)["patch_tokens"], encoder(images)["patch_tokens"], atol=1e-5)

    def test_what_a_mask_hides_has_no_influence(self):
        encoder, mask = self.make(), np.zeros((4, self.make().num_patches), "float32")
        mask[:, 0] = 1
        height, width = encoder.patch_size
        changed = self.images
        changed[:, :height, :width] = random_images(4, (height, width, 3), seed=9)
        token = tf.fill((1, 1, encoder.hidden_dim), 0.5)
        one, other = (encoder.encode(x, mask=mask, mask_token=token) for x in (self.images, changed))
        np.testing.assert_array_equal(one.patches, other.patches)
        assert (encoder.encode(self.images).patches != one.patches).numpy().any()
        with pytest.raises(ValueError, match="not both|every patch"):
            encoder.encode(self.images, ids_keep=np.zeros((4, 1), "int32"), mask=mask, mask_token=token)

    def test_patches_that_are_left_out(self):
        encoder, ids = self.make(), np.array([[1, 0]] * 4, "int32")
        if not self.drops_patches:
            with pytest.raises(ValueError, match="every patch"):
                encoder.encode(self.images, ids_keep=ids)
            return
        assert encoder.encode(self.images, ids_keep=ids).patches.shape == (4, 2, encoder.hidden_dim)

    def test_intermediates_and_features(self):
        encoder = self.make()
        layers = list(range(1, encoder.num_layers + 1))
        maps = encoder.intermediates(self.images, layers)
        assert len(maps) == len(layers) == len(encoder.layer_groups()) - 2
        for layer, one in zip(layers, maps, strict=True):
            assert one.shape == (4, *encoder.grid, encoder.hidden_dim)
            np.testing.assert_allclose(encoder.intermediates(self.images, [layer])[0], one, atol=1e-6)
            expected = tf.reduce_mean(one, axis=[1, 2])
            np.testing.assert_allclose(encoder.features(self.images, "mean", layer), expected, atol=1e-5)
        expected = tf.reduce_mean(encoder(self.images)["patch_tokens"], axis=1)
        np.testing.assert_allclose(encoder.features(self.images), expected, atol=1e-6)

    def test_groups_and_last_layers(self):
        encoder = self.make()
        grouped = [id(variable) for group in encoder.layer_groups() for variable in group]
        assert sorted(grouped) == sorted(id(variable) for variable in encoder.trainable_variables)
        undecayed = {id(variable) for variable in encoder.no_weight_decay()}
        assert undecayed < set(grouped)
        assert {id(v) for v in encoder.outside_of_last_layers(0)} == {id(v) for v in encoder.weights}
        assert encoder.outside_of_last_layers(None) == []
        last = {id(v) for group in encoder.layer_groups()[-2:] for v in group}
        outside = {id(v) for v in encoder.outside_of_last_layers(1)}
        assert not outside & last and outside | last == {id(v) for v in encoder.weights}
        for wrong in (-1, encoder.num_layers + 1, 0.3):
            with pytest.raises(ValueError, match="number of trainable layers"):
                encoder.outside_of_last_layers(wrong)

    def test_every_gradient_is_there_and_finite(self):
        encoder = self.make()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(encoder.encode(self.images, training=True).patches))
        gradients = tape.gradient(loss, [variable.value for variable in encoder.trainable_variables])
        assert all(g is not None and np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)

    def test_config_and_file_round_trip(self, tmp_path):
        encoder = self.make()
        encoder.save(tmp_path / "encoder.keras")
        loaded = keras.saving.load_model(tmp_path / "encoder.keras")
        copy = type(encoder).from_config(encoder.get_config())
        copy.set_weights(encoder.get_weights())
        for other in (loaded, copy):
            assert other.get_config() == encoder.get_config()
            np.testing.assert_array_equal(other(self.images)["patch_tokens"], encoder(self.images)["patch_tokens"])

    def test_a_frozen_constructor_freezes_every_variable(self):
        """`encoder.trainable_variables` alone would be empty whatever lies inside."""
        assert not [variable.path for variable in self.make(trainable=False).weights if variable.trainable]

    def test_tensorflows_checkpoints_hold_every_weight(self, tmp_path):
        encoder, other = self.make(), self.make()
        for variable in other.weights:
            variable.assign(variable + 1.0)
        path = tf.train.Checkpoint(model=encoder).save(str(tmp_path / "checkpoint"))
        tf.train.Checkpoint(model=other).restore(path).assert_existing_objects_matched()
        for one, two in zip(encoder.weights, other.weights, strict=True):
            np.testing.assert_array_equal(one, two)

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_mixed_precision(self, policy):
        encoder = self.make(dtype=policy)
        tokens = encoder.encode(self.images).patches
        assert tokens.dtype == keras.DTypePolicy(policy).compute_dtype
        assert all(variable.dtype == "float32" for variable in encoder.trainable_variables)
        expected = self.make()
        expected.set_weights(encoder.get_weights())
        # 8 bits of a number's size, through a few layers of sums
        np.testing.assert_allclose(tf.cast(tokens, tf.float32), expected.encode(self.images).patches, atol=0.15)
