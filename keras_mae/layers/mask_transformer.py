"""The mask transformer of a segmenter."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mae.layers.dense import Dense
from keras_mae.layers.layer_norm import LayerNorm
from keras_mae.layers.transformer_block import transformer_blocks


@keras.saving.register_keras_serializable(package="keras_mae")
class MaskTransformer(keras.layers.Layer):
    """A token for each class, and masks as products of these tokens with pixels.

    Class tokens and patch tokens go through transformer blocks together, as in Segmenter. The map of the patch tokens
    is then enlarged as in EoMT, by blocks of a 2 x 2 deconvolution of stride 2, GELU, a depthwise 3 x 3 convolution and
    LayerNorm. With both projected, the logit of class `k` at pixel `p` is `c_k . x_p / sqrt(D)`.

    It departs from both: Segmenter does not enlarge the map, and has products of normalised vectors with a LayerNorm
    over the classes; EoMT puts queries into the encoder's own last blocks, and matches them with masks. All norms are
    LayerNorms, so that a batch may be computed in parts.

    Args:
        num_classes: number of classes `K`.
        num_upscales: how often the map is enlarged to twice its size.
        num_layers: number of transformer blocks, 2 in Segmenter.
        num_heads: attention heads; must divide the width `D`.

    Call arguments:
        features: patch tokens `(B, rows, columns, D)`.
        training: not used.

    Returns:
        Logits `(B, 2^n rows, 2^n columns, K)` with `n = num_upscales`, float32.

    Reference: arXiv 2105.05633 (Segmenter), section 3.2; arXiv 2503.19108 (EoMT), section 3.2, and `ScaleBlock` of its
    code (MIT).
    """

    def __init__(
        self, num_classes: int, num_upscales: int = 2, num_layers: int = 2, num_heads: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.num_upscales = num_classes, num_upscales
        self.num_layers, self.num_heads = num_layers, num_heads

    def build(self, input_shape) -> None:
        if self.built:
            return
        *_, rows, columns, dim = input_shape
        policy = {"dtype": self.dtype_policy}
        normal = keras.initializers.RandomNormal(stddev=0.02)
        self.class_tokens = self.add_weight((1, self.num_classes, dim), initializer=normal, name="class_tokens")
        self.projection = Dense(dim, name="projection", **policy)
        self.blocks = transformer_blocks(self.num_layers, dim, self.num_heads, 4 * dim, **policy)
        self.norm = LayerNorm(name="norm", **policy)
        self.upscales = [self._upscale(dim, f"upscale_{index}") for index in range(self.num_upscales)]
        self.class_projection = Dense(dim, use_bias=False, name="class_projection", **policy)
        self.pixel_projection = Dense(dim, use_bias=False, name="pixel_projection", **policy)
        layers: tuple[keras.layers.Layer, ...] = (self.projection, *self.blocks, self.norm, self.class_projection)
        for layer in layers:
            layer.build((None, self.num_classes + rows * columns, dim))
        for layer in (*self.upscales, self.pixel_projection):
            layer.build((None, None, None, dim))

    def _upscale(self, dim: int, name: str) -> keras.Sequential:
        policy = {"dtype": self.dtype_policy}
        of_maps = {"padding": "same", "data_format": "channels_last", **policy}
        layers = [
            keras.layers.Conv2DTranspose(dim, 2, 2, name="deconvolution", **of_maps),
            keras.layers.Activation("gelu", name="gelu", **policy),
            keras.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise", **of_maps),
            LayerNorm(name="norm", **policy),
        ]
        return keras.Sequential(layers, name=name)

    def call(self, features, training=False):
        _, rows, columns, dim = features.shape
        x = self.projection(tf.reshape(features, [-1, rows * columns, dim]))  # (B, L, D)
        tokens = tf.cast(tf.convert_to_tensor(self.class_tokens), x.dtype)
        x = tf.concat([tf.repeat(tokens, tf.shape(x)[0], axis=0), x], axis=1)  # (B, K + L, D)
        for block in self.blocks:
            x = block(x, training=training)
        classes, x = tf.split(self.norm(x), [self.num_classes, rows * columns], axis=1)
        pixels = tf.reshape(x, [-1, rows, columns, dim])
        for upscale in self.upscales:
            pixels = upscale(pixels)  # twice as many rows and columns
        pixels, classes = self.pixel_projection(pixels) * dim**-0.5, self.class_projection(classes)
        return tf.einsum("bhwd,bkd->bhwk", tf.cast(pixels, tf.float32), tf.cast(classes, tf.float32))

    def compute_output_shape(self, input_shape) -> tuple:
        batch, rows, columns, _ = input_shape
        scale = 2**self.num_upscales
        return (batch, rows and scale * rows, columns and scale * columns, self.num_classes)

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("num_classes", "num_upscales", "num_layers", "num_heads")}
        return {**super().get_config(), **own}
