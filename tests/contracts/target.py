"""What every target must keep."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.layers import Patchify
from keras_mae.losses import MaskedCrossEntropy, MaskedMeanSquaredError
from tests.base import geometry, random_images


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
