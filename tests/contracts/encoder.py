"""What every encoder must keep."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.base import random_images


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
