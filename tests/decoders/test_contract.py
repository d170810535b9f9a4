"""The decoders under the contract of all decoders, and one of one's own."""

import keras
import tensorflow as tf

from keras_mae.decoders import Decoder, LinearDecoder, MAEDecoder
from tests.contracts import DecoderContract


@keras.saving.register_keras_serializable(package="tests")
class MeanDecoder(Decoder):
    """From the mean of all tokens, and a vector of its own for each patch, by one linear layer."""

    def build(self, input_shape):
        self.places = self.add_weight((self.geometry.num_patches, input_shape[-1]), name="places")
        self.head = keras.layers.Dense(self.geometry.target_dim, name="head", dtype=self.dtype_policy)
        self.head.build(input_shape)

    def call(self, tokens, mask, ids=None):
        mean = tf.reduce_mean(tf.concat([tokens.prefix, tokens.patches], axis=1), axis=1, keepdims=True)  # (B, 1, D)
        places = tf.cast(self.places, mean.dtype)[None] + tf.zeros_like(mean)
        return self.head(mean + (places if ids is None else tf.gather(places, ids, batch_dims=1)))


class TestMAEDecoder(DecoderContract):
    def make(self, **arguments):
        return MAEDecoder(12, 1, 3, 20, **arguments)


class TestLearnedPositions(DecoderContract):
    def make(self, **arguments):
        return MAEDecoder(12, 1, 3, 20, position_embedding="learned", **arguments)


class TestLinearDecoder(DecoderContract):
    of_visible_tokens = False

    def make(self, **arguments):
        return LinearDecoder(**arguments)


class TestOneOfOnesOwn(DecoderContract):
    def make(self, **arguments):
        return MeanDecoder(name="decoder", **arguments)
