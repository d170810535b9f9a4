"""Models whose steps are traced and taken in no time."""

import tensorflow as tf

from keras_mae.training import GlobalBatchModel
from tests.base import small_mae


class OneNumber(GlobalBatchModel):
    """Has one weight, `number`, which begins as 1, and takes what it is given; a subclass has the loss."""

    def __init__(self):
        super().__init__()
        self.number = self.add_weight(shape=(), initializer="ones", name="number")

    def call(self, inputs):
        return inputs


class Levels(GlobalBatchModel):
    """Learns the mean image, a number for each of its levels: for what replicas agree on, whatever the model."""

    def __init__(self, shape, dtype="float32"):
        super().__init__(dtype=dtype)
        self.mean = self.add_weight(shape=shape, initializer="zeros", name="mean")

    def call(self, inputs):
        return inputs

    def batch_loss(self, data, seed, training):
        return 36 * tf.reduce_mean(tf.square(tf.cast(data, tf.float32) / 255 - self.mean))


def shallow_mae(seed=3, dtype="float32"):
    """A masked autoencoder of one block, which drops paths as the last of several does."""
    mae = small_mae(seed=seed, dtype=dtype)
    mae.encoder.blocks[0].drop_path.rate = 0.3
    return mae
