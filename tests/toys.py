"""What a user may add, small: an encoder that is no transformer, and a method with a teacher."""

import keras
import tensorflow as tf

from keras_mae.encoders import Encoder, Tokens
from keras_mae.layers import LayerNorm
from keras_mae.layers.pixel_range import with_shape
from keras_mae.models import MaskedAutoencoder
from keras_mae.targets import Target


@keras.saving.register_keras_serializable(package="tests")
class ConvEncoder(Encoder):
    """Convolutions over the map of patches; a mask is a map as well, and no patch can be left out."""

    def __init__(self, image_shape, patch_size=4, hidden_dim=8, num_layers=2, name="conv_encoder", **kwargs):
        super().__init__(image_shape, patch_size, hidden_dim, name=name, **kwargs)
        self.num_layers = num_layers
        arguments = {"padding": "same", "activation": "gelu", "dtype": self.dtype_policy}
        self.stem = keras.layers.Conv2D(hidden_dim, patch_size, patch_size, dtype=self.dtype_policy, name="stem")
        self.convs = [keras.layers.Conv2D(hidden_dim, 3, name=f"conv_{i}", **arguments) for i in range(num_layers)]
        self.norm = LayerNorm(dtype=self.dtype_policy, name="norm")
        self.build((None, *self.image_shape))

    def maps(self, images, mask=None, mask_token=None):
        x = self.stem(self.normalize_pixels(with_shape(images, self.image_shape)))  # (B, rows, columns, D)
        if mask is not None:
            mask = tf.reshape(tf.cast(mask, x.dtype), [-1, *self.grid, 1])
            x = x * (1 - mask) + tf.cast(mask_token, x.dtype)[:, None] * mask
        for conv in self.convs:
            x = x + conv(x)
            yield x

    def encode(self, images, ids_keep=None, mask=None, mask_token=None, training=False, seed=None):
        if ids_keep is not None:
            raise ValueError("a ConvEncoder sees every patch: let mask tokens replace the masked ones")
        *_, x = self.maps(images, mask, mask_token)
        patches = tf.reshape(self.norm(x), [-1, self.num_patches, self.hidden_dim])
        return Tokens(patches[:, :0], patches)

    def intermediates(self, images, layers, training=False, seed=None):
        return [x for layer, x in enumerate(self.maps(images), 1) if layer in layers]

    def layer_groups(self):
        groups = [layer.trainable_variables for layer in (self.stem, *self.convs, self.norm)]
        return [list(group) for group in groups]

    def get_config(self):
        own = {"patch_size": self.patch_size, "hidden_dim": self.hidden_dim, "num_layers": self.num_layers}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="tests")
class TeacherTarget(Target):
    """The tokens that a teacher, a running mean of the network, gives the patches of the whole image."""

    has_pixels = False

    def __init__(self, teacher, **kwargs):
        super().__init__(**kwargs)
        self.teacher = teacher

    def attach(self, geometry):
        super().attach(geometry)
        self.dim = self.teacher.hidden_dim

    def call(self, images):
        return tf.cast(self.teacher.encode(images).patches, tf.float32)

    def get_config(self):
        return {**super().get_config(), "teacher": keras.saving.serialize_keras_object(self.teacher)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "teacher": keras.saving.deserialize_keras_object(config["teacher"])})


@keras.saving.register_keras_serializable(package="tests")
class TaughtAutoencoder(MaskedAutoencoder):
    """Its teacher takes a tenth of the network after each step."""

    def after_update(self):
        for teacher, student in zip(self.target.teacher.weights, self.encoder.weights, strict=True):
            teacher.assign(0.9 * tf.convert_to_tensor(teacher) + 0.1 * tf.convert_to_tensor(student))
