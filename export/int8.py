"""Products of matrices in 8 bits, in the place of a model's linear layers in transformer blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.export.computing import copy_in_dtype
from keras_mae.layers import TransformerBlock
from keras_mae.layers.kernels import as_tokens
from keras_mae.layers.transformer_block import WithBlocks

HELD_OUT = 8  # images of the check, which the calibration does not see
_LEAST = 16  # images for calibration and check
_BATCH = 16
_STEPS = 255  # of an activation, unsigned
# Of a weight, signed. On processors without VNNI the sum of two products of 8 bits saturates at 2^15 - 1: with weights
# up to 63 it stays at 2 * 255 * 63 = 32130. 127 steps would be exact on newer ones only.
_LEVELS = 63


def int8_copy(model: Any, images: np.ndarray | None, fake: bool = False) -> Any:
    """A copy of a model whose transformer blocks multiply in 8 bits.

    `y = (q(x / s) (s W)_q) g + b`: activations have 256 levels, between the lowest and the highest that the calibration
    met; weights have 127, in each column between plus and minus its largest. `s` moves part of the range of a channel
    of the activations, where some are a hundred times the others, to its weights. The rest of the model, such as
    LayerNorm, attention's softmax and its two products, a head and the patch projection, computes in float32.

    Args:
        model: an encoder, or a model that has one.
        images: uint8, uint16 or float in the model's range, `(N, H, W, C)`; all but the first 8 calibrate.
        fake: whether to round in float32 to the same numbers, as converters to other formats understand it; else the
            operations of TensorFlow are used that multiply in 8 bits.

    Raises:
        ValueError: if there are fewer than 16 images, or the encoder has no transformer blocks.

    Reference: arXiv 2211.10438 (SmoothQuant), equations 3 and 4, with an exponent of one half.
    """
    if images is None or len(images) < _LEAST:
        count = 0 if images is None else len(images)
        raise ValueError(
            f"dtype 'int8' is calibrated on images of the model's data: pass {_LEAST} or more, better 100; got {count}"
        )
    copy = copy_in_dtype(model, "float32")
    encoder = getattr(copy, "encoder", copy)
    layers = list(_linear_layers(encoder))
    if not layers:
        raise ValueError(f"dtype 'int8' is for encoders with transformer blocks; {type(encoder).__name__} has none")
    watched = [_Watched(layer) for layer in layers]
    for begin in range(HELD_OUT, len(images), _BATCH):
        encoder(images[begin : begin + _BATCH], training=False)
    for layer, seen in zip(layers, watched, strict=True):
        layer.call = (_FakeProduct if fake else Int8Product)(layer, seen.low, seen.high)
    return copy


def int8_products(encoder: Any) -> list[Int8Product]:
    """The products in 8 bits of a model that `int8_copy` made; none in another."""
    calls = (layer.call for layer in _linear_layers(encoder))
    return [call for call in calls if isinstance(call, Int8Product)]


def saved_variables(model: Any, encoder: Any) -> list[tf.Variable]:
    """A model's variables, with those of products in 8 bits instead of the weights that these replace."""
    replaced = {id(weight) for layer in _replaced(encoder) for weight in layer.weights}
    kept = [variable.value for variable in model.weights if id(variable) not in replaced]
    return kept + [variable for product in int8_products(encoder) for variable in product.variables]


def _replaced(encoder: Any) -> list[keras.layers.Dense]:
    return [layer for layer in _linear_layers(encoder) if isinstance(layer.call, Int8Product)]


def _linear_layers(encoder: Any) -> Iterator[keras.layers.Dense]:
    for block in encoder.blocks if isinstance(encoder, WithBlocks) else ():
        if isinstance(block, TransformerBlock):
            yield from (block.attention.qkv, block.attention.projection, block.mlp_hidden, block.mlp_output)


class _Watched:
    """Notes the lowest and the highest input of each channel of a layer, `(K,)` each, while the layer is called."""

    def __init__(self, layer: keras.layers.Dense) -> None:
        self.low, self.high = np.zeros(layer.kernel.shape[0], "float32"), np.zeros(layer.kernel.shape[0], "float32")
        self._call = layer.call
        layer.call = self

    def __call__(self, inputs, training=None):
        axes = list(range(len(inputs.shape) - 1))
        self.low = np.minimum(self.low, tf.reduce_min(inputs, axes))
        self.high = np.maximum(self.high, tf.reduce_max(inputs, axes))
        return self._call(inputs)


class Int8Product:
    """A linear layer in 8 bits, by an operation of TensorFlow that oneDNN computes.

    That operation knows one step for all weights, and adds a bias differently in different versions. So the columns'
    steps and the bias come afterwards, and the zero of the activations is part of that bias. Where oneDNN is off, it
    gives an error, not other numbers.

    Args:
        layer: the linear layer, in float32.
        low, high: of its inputs, by channel; `low <= 0 <= high`.
    """

    def __init__(self, layer: keras.layers.Dense, low: np.ndarray, high: np.ndarray) -> None:
        kernel = np.asarray(layer.kernel)  # (K, N)
        bias = np.asarray(layer(np.zeros((1, len(kernel)), "float32")))[0]
        shift = _shift(kernel, low, high)
        self.low, self.high = float((low / shift).min()), float((high / shift).max())
        step = np.float32(max(self.high - self.low, float(np.finfo("float32").tiny)) / _STEPS)
        self.zero = np.float32(np.round(-self.low / step))
        kernel = kernel * shift[:, None]
        gain = np.maximum(np.abs(kernel).max(axis=0), np.finfo("float32").tiny) / np.float32(_LEVELS)
        levels = np.round(kernel / gain).astype("int8")
        self._assign(levels, gain, step, shift, bias)

    def _assign(self, levels, gain, step, shift, bias) -> None:
        sums = levels.astype("int64").sum(axis=0).astype("float32")
        self.kernel = tf.Variable(levels, trainable=False, name="int8_kernel")
        self.scale = tf.Variable(1 / (step * shift), trainable=False, name="scale")
        self.gain = tf.Variable(gain * step, trainable=False, name="gain")
        self.offset = tf.Variable(bias - self.zero * step * gain * sums, trainable=False, name="offset")
        self.variables = [self.kernel, self.scale, self.gain, self.offset]

    def __call__(self, inputs, training=None):
        rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
        # a half more, as the cast cuts off what follows the point
        levels = tf.cast(tf.clip_by_value(rows * self.scale + (self.zero + 0.5), 0, _STEPS + 0.5), tf.uint8)
        width = self.kernel.shape[1]
        sums = tf.raw_ops.QuantizedMatMulWithBiasAndDequantize(  # of integers, as ranges and steps are the same
            a=tf.bitcast(levels, tf.quint8),
            b=tf.bitcast(self.kernel, tf.qint8),
            bias=tf.zeros([width]),
            min_a=0.0,
            max_a=float(_STEPS),
            min_b=-127.0,
            max_b=127.0,
            min_freezed_output=0.0,
            max_freezed_output=1.0,
            Toutput=tf.float32,
            input_quant_mode="SCALED",
        )
        return as_tokens(sums * self.gain + self.offset, inputs)


class _FakeProduct(Int8Product):
    """The same numbers, rounded in float32."""

    def _assign(self, levels, gain, step, shift, bias) -> None:
        self.low, self.high = float(-self.zero * step), float((_STEPS - self.zero) * step)
        self.kernel = tf.Variable(levels, trainable=False)
        self.gain, self.shift = tf.Variable(gain, trainable=False), tf.Variable(1 / shift, trainable=False)
        self.offset = tf.Variable(bias, trainable=False)
        self.variables = [self.kernel, self.shift, self.gain, self.offset]

    def __call__(self, inputs, training=None):
        rows = tf.quantization.fake_quant_with_min_max_args(inputs * self.shift, self.low, self.high)
        return tf.linalg.matmul(rows, tf.cast(self.kernel, tf.float32) * self.gain) + self.offset


def _shift(kernel: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """What the activations of each channel are divided by, and its weights multiplied with."""
    activations, weights = np.maximum(-low, high), np.abs(kernel).max(axis=1)
    shift = np.sqrt(activations / np.maximum(weights, 1e-12))
    return np.where((activations > 0) & (weights > 0), np.clip(shift, 1e-5, 1e5), 1).astype("float32")
