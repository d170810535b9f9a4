"""What every decoder must keep."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.encoders import Tokens
from keras_mae.masking import Mask
from tests.base import fill_randomly, geometry, random_noise


def as_list(tokens):
    return tokens if isinstance(tokens, list) else [tokens]


class DecoderContract:
    """Contract of a `Decoder`; subclasses implement `make`, and override what is another for them.

    The model of the tests has a grid of 2 x 3 patches, two prefix tokens, tokens 16 wide and a target of 10 numbers.
    """

    image_shape, patch_size, num_patches = (4, 9, 1), (2, 3), 6
    num_prefix_tokens, num_visible, target_dim = 2, 2, 10
    of_visible_tokens = True  # whether it fills in the masked patches; a linear one needs a token for every patch

    def make(self, **arguments):
        """The decoder under test, not attached, with these arguments of Keras'."""
        raise NotImplementedError

    @property
    def geometry(self):
        prefix, dim = self.num_prefix_tokens, self.target_dim
        return geometry(self.image_shape, self.patch_size, num_prefix_tokens=prefix, target_dim=dim)

    def attached(self, **arguments):
        decoder = self.make(**arguments)
        decoder.attach(self.geometry)
        return fill_randomly(decoder)

    @property
    def mask(self):
        """Of four examples; a different one in each."""
        if self.of_visible_tokens:
            return Mask.from_noise(random_noise(4, self.num_patches), self.num_visible)
        return Mask.from_noise(np.zeros((4, self.num_patches), "float32"), self.num_patches)

    def tokens(self, decoder, seed=0):
        """Of the visible patches, in the decoder's type; a list if it takes those of several layers."""
        rng, prefix = np.random.default_rng(seed), self.num_prefix_tokens
        shape = (4, prefix + self.mask.ids_keep.shape[1], 16)
        of_layers = [
            tf.cast(rng.normal(size=shape), decoder.compute_dtype) for _ in decoder.encoder_layers or ("the output",)
        ]
        found = [Tokens(tokens[:, :prefix], tokens[:, prefix:]) for tokens in of_layers]
        return found[0] if decoder.encoder_layers is None else found

    @property
    def ids(self):
        """Three patches of each example, in no order; masked ones, if there are."""
        if self.of_visible_tokens:
            return self.mask.ids_masked.numpy()[:, [2, 0, 3]]
        return np.array([[5, 0, 2], [1, 4, 3], [2, 1, 0], [3, 5, 1]], "int32")

    def test_shapes_and_types(self):
        decoder = self.attached()
        everything = decoder(self.tokens(decoder), self.mask)
        assert everything.shape == (4, self.num_patches, self.target_dim) and everything.dtype == "float32"
        assert decoder(self.tokens(decoder), self.mask, ids=self.ids).shape == (4, 3, self.target_dim)
        expected = decoder.compute_output_shape((4, self.num_visible, 16))
        assert tuple(expected) == (4, self.num_patches, self.target_dim)
        assert len(np.unique(np.round(everything, 4).reshape(-1, self.target_dim), axis=0)) == 4 * self.num_patches

    def test_ids_choose_patches_of_the_whole_prediction(self):
        """All of them, in any order; and the masked ones, for which a model asks in training."""
        decoder, mask = self.attached(), self.mask
        everything = decoder(self.tokens(decoder), mask).numpy()
        orders = [np.array([np.random.default_rng(row).permutation(self.num_patches) for row in range(4)])]
        for ids in [*orders, *([mask.ids_masked.numpy()] if self.of_visible_tokens else [])]:
            found = decoder(self.tokens(decoder), mask, ids=ids.astype("int32"))
            expected = np.take_along_axis(everything, ids[..., None], axis=1)
            np.testing.assert_allclose(found, expected, atol=1e-5)  # a product with other rows sums in another order

    def test_the_order_of_the_visible_tokens_is_that_of_the_mask(self):
        if not self.of_visible_tokens:
            return
        decoder, mask = self.attached(), self.mask
        tokens, swapped = self.tokens(decoder), [1, 0]
        ids = tf.gather(mask.ids_keep, swapped, axis=1)
        shuffled = tf.concat([ids, mask.ids_masked], axis=1)
        other = Mask(ids, mask.ids_masked, tf.argsort(shuffled, axis=1), mask.mask)
        swap = [one._replace(patches=tf.gather(one.patches, swapped, axis=1)) for one in as_list(tokens)]
        again = swap if isinstance(tokens, list) else swap[0]
        np.testing.assert_allclose(decoder(again, other), decoder(tokens, mask), atol=1e-5)  # other order of sums

    def test_examples_do_not_see_each_other(self):
        decoder, mask = self.attached(), self.mask
        tokens, others = self.tokens(decoder), self.tokens(decoder, seed=1)
        mixed = tf.nest.map_structure(lambda one, other: tf.concat([one[:2], other[2:]], axis=0), tokens, others)
        one, two = decoder(tokens, mask).numpy(), decoder(mixed, mask).numpy()
        np.testing.assert_allclose(one[:2], two[:2], atol=1e-6)
        assert (np.abs(one[2:] - two[2:]) > 1e-3).any(axis=-1).all()

    @pytest.mark.parametrize("ids", [None, 3])
    def test_static_shapes(self, ids):
        decoder = self.attached()
        tokens, mask = self.tokens(decoder), self.mask

        def of(tensor):
            return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)

        specs = [tf.nest.map_structure(of, part) for part in (tokens, mask)]
        if ids:
            specs.append(tf.TensorSpec([None, ids], "int32"))
        call = tf.function(lambda tokens, mask, ids=None: decoder(tokens, mask, ids=ids)).get_concrete_function(*specs)
        assert call.structured_outputs.shape.as_list() == [None, ids or self.num_patches, self.target_dim]

    @pytest.mark.medium
    @pytest.mark.parametrize("with_ids", [False, True])
    def test_same_under_xla(self, with_ids):
        decoder = self.attached()
        tokens, mask, ids = self.tokens(decoder), self.mask, self.ids if with_ids else None

        @tf.function(jit_compile=True)
        def compiled(tokens, mask):
            return decoder(tokens, mask, ids=ids)

        # float32, with epsilon 1.2e-7, in another order through a few layers
        np.testing.assert_allclose(compiled(tokens, mask), decoder(tokens, mask, ids=ids), atol=1e-5, rtol=1e-5)

    def test_a_gradient_reaches_every_weight_and_every_token(self):
        decoder = self.attached()
        tokens = self.tokens(decoder)
        used = [one.patches for one in as_list(tokens)]
        used += [one.prefix for one in as_list(tokens)] if self.of_visible_tokens else []  # a linear one takes none
        with tf.GradientTape() as tape:
            tape.watch(used)
            loss = tf.reduce_mean(tf.square(decoder(tokens, self.mask) - 1.0))
        variables = decoder.trainable_variables
        gradients = tape.gradient(loss, [*(variable.value for variable in variables), *used])
        names = [*(variable.path for variable in variables), *(f"tokens {number}" for number in range(len(used)))]
        for name, gradient in zip(names, gradients, strict=True):
            assert gradient is not None and np.isfinite(gradient).all() and np.any(gradient), name

    def test_config_round_trip(self):
        decoder = self.attached()
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(decoder))
        assert type(copy) is type(decoder) and copy.get_config() == decoder.get_config() == self.make().get_config()
        copy.attach(self.geometry)
        copy.set_weights(decoder.get_weights())
        tokens, mask = self.tokens(decoder), self.mask
        np.testing.assert_array_equal(copy(tokens, mask), decoder(tokens, mask))
        assert [variable.path for variable in copy.weights] == [variable.path for variable in decoder.weights]

    def test_belongs_to_one_geometry(self):
        decoder = self.make()
        with pytest.raises(ValueError, match="pass it to a model, or call attach"):
            decoder.build((None, None, 16))
        decoder.attach(self.geometry)
        weights = [id(variable) for variable in decoder.weights]
        decoder.attach(self.geometry)
        assert weights == [id(variable) for variable in decoder.weights]
        with pytest.raises(ValueError, match="make another decoder"):
            decoder.attach(geometry((6, 6, 1), (2, 3), num_prefix_tokens=2, target_dim=10))

    def test_what_is_not_decayed_is_trained(self):
        decoder = self.attached()
        undecayed = [id(variable) for variable in decoder.no_weight_decay()]
        trained = {id(variable) for variable in decoder.trainable_variables}
        assert len(set(undecayed)) == len(undecayed) and set(undecayed) < trained
        matrices = {id(v) for v in decoder.trainable_variables if v.path.endswith("kernel")}
        assert not matrices & set(undecayed)
        one_number_a_column = {id(v) for v in decoder.trainable_variables if len(v.shape) == 1}
        assert one_number_a_column <= set(undecayed)

    def test_a_frozen_constructor_freezes_every_variable(self):
        """`decoder.trainable_variables` alone would be empty whatever lies inside."""
        assert not [variable.path for variable in self.attached(trainable=False).weights if variable.trainable]

    def test_tensorflows_checkpoints_hold_every_weight(self, tmp_path):
        decoder, other = self.attached(), self.attached()
        for variable in other.weights:
            variable.assign(variable + 1.0)
        path = tf.train.Checkpoint(model=decoder).save(str(tmp_path / "checkpoint"))
        tf.train.Checkpoint(model=other).restore(path).assert_existing_objects_matched()
        for one, two in zip(decoder.weights, other.weights, strict=True):
            np.testing.assert_array_equal(one, two)

    def test_it_takes_the_policy_of_its_encoder_unless_it_has_its_own(self):
        """With the numbers of a decoder that was given it, to the bit: each layer inside computes in it."""
        policy, decoder = keras.DTypePolicy("mixed_bfloat16"), self.make()
        config = decoder.get_config()
        decoder.inherit(policy)
        decoder.attach(self.geometry)
        expected = self.attached(dtype="mixed_bfloat16")
        found = fill_randomly(decoder)(self.tokens(decoder), self.mask)
        assert found.dtype == "bfloat16"
        np.testing.assert_array_equal(found, expected(self.tokens(expected), self.mask))
        assert decoder.get_config() == config and config["dtype"] is None
        decoder.inherit(keras.DTypePolicy("float32"))  # of another model, which shares it
        assert decoder.compute_dtype == "bfloat16"
        own = self.make(dtype="float32")
        own.inherit(policy)
        assert own.compute_dtype == "float32" and own.get_config()["dtype"] is not None

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_mixed_precision(self, policy):
        decoder, expected = self.attached(dtype=policy), self.attached()
        predicted = decoder(self.tokens(decoder), self.mask)
        assert predicted.dtype == keras.DTypePolicy(policy).compute_dtype
        assert all(variable.dtype == "float32" for variable in decoder.weights)
        whole = expected(self.tokens(expected), self.mask)
        # bfloat16 has 8 bits, float16 11, and some ten roundings follow one another
        error = np.sqrt(np.mean(np.square(tf.cast(predicted, tf.float32) - whole)) / np.mean(np.square(whole)))
        assert 0 < error < 10 * 2.0 ** (-8 if "bfloat" in policy else -11)
