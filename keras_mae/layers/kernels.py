"""Kernels with own gradients for layers, in train steps that are a graph on a processor or compiled for an accelerator.

Layers are plain; `with_kernel` marks their functions that have a kernel, and the step chooses the table of kernels. A
kernel gives the same numbers, and keeps less for the backward pass than TensorFlow's gradient. In a graph it has XLA
fuse elementwise operations into one pass, too. `python -m benchmarks --only=processor_kernels_vit_tiny` measures each
kernel of a graph, `benchmarks.accelerator` the compiled step.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_mae import _compat

_SQRT_HALF = 0.7071067811865476
_DENSITY_AT_0 = 0.3989422804014327

Kernels = Mapping[str, Callable[..., tf.Tensor]]

_used: contextvars.ContextVar[Kernels] = contextvars.ContextVar("the kernels that layers use", default={})


@contextlib.contextmanager
def use_kernels(kernels: Kernels | None) -> Iterator[None]:
    """Makes layers that are called, or traced, inside use these kernels; for forward and backward pass together.

    Args:
        kernels: a table such as `GRAPH_KERNELS`, or None for those that are used around, by default none.
    """
    token = _used.set(_used.get() if kernels is None else kernels)
    try:
        yield
    finally:
        _used.reset(token)


def with_kernel(name: str) -> Callable[[Callable], Callable]:
    """Decorates a plain function: within `use_kernels(kernels)`, `kernels[name](plain, *arguments)` replaces it."""

    def decorate(plain: Callable) -> Callable:
        @functools.wraps(plain)
        def either(*arguments: Any, **keywords: Any) -> tf.Tensor:
            kernel = _used.get().get(name)
            return plain(*arguments, **keywords) if kernel is None else kernel(plain, *arguments, **keywords)

        return either

    return decorate


def _in_one_pass(function: Callable) -> Callable:
    """The function compiled by XLA, once for each shape."""
    return functools.wraps(function)(tf.function(function, jit_compile=True, autograph=False))


@functools.cache
def compiles_on_processor() -> bool:
    """Whether XLA compiles for processors, as `GRAPH_KERNELS` need it; TensorFlow's build for TPUs does not."""
    with tf.init_scope(), tf.device("CPU:0"):
        try:
            _in_one_pass(tf.negative)(tf.zeros(()))
        except tf.errors.OpError:
            return False
    return True


# LayerNorm. TensorFlow's gradient makes some twenty passes over the tokens; this one makes five, and keeps `x`, the
# mean and the inverse deviation of each token. Means over a row are products with a vector, for which XLA has fast
# code; it sums a row one number after the other.


def _layer_norm(plain: Callable, layer, inputs) -> tf.Tensor:
    @tf.custom_gradient
    def normalize(x, gain, offset):
        y, mean, scale = _layer_norm_forward(x, gain, offset, layer.epsilon)
        return y, lambda gradient: _layer_norm_backward(x, gain, mean, scale, gradient)

    return normalize(inputs, tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta))


@_in_one_pass
def _layer_norm_forward(x, gain, offset, epsilon):
    tokens, gain, offset = _rows(_wide(x)), _wide(gain), _wide(offset)
    average = tf.ones_like(gain) / gain.shape[0]
    mean = tf.linalg.matvec(tokens, average)[:, None]
    centered = tokens - mean
    scale = tf.math.rsqrt(tf.linalg.matvec(centered * centered, average)[:, None] + epsilon)
    return tf.cast(tf.reshape(centered * scale * gain + offset, tf.shape(x)), x.dtype), mean, scale


@_in_one_pass
def _layer_norm_backward(x, gain, mean, scale, gradient):
    normalized, gradient, weights = (_rows(_wide(x)) - mean) * scale, _rows(_wide(gradient)), _wide(gain)
    product = gradient * normalized
    average = weights / weights.shape[0]
    along_mean, along_normalized = tf.linalg.matvec(gradient, average), tf.linalg.matvec(product, average)
    of_x = scale * (gradient * weights - along_mean[:, None] - normalized * along_normalized[:, None])
    of_gain, of_offset = tf.reduce_sum(product, 0), tf.reduce_sum(gradient, 0)
    return tf.cast(tf.reshape(of_x, tf.shape(x)), x.dtype), *(tf.cast(of, gain.dtype) for of in (of_gain, of_offset))


def _rows(x):
    return tf.reshape(x, [-1, x.shape[-1]])


# Attention. In a graph only queries, keys and values are kept; the backward pass computes the weights again (arXiv
# 2205.14135). A compiled step keeps the weights, too, in the dtype of the tokens: on an H200 computing them again cost
# more time than it was worth. The gradient of a row of logits is `weights (of_weights - shift)`; `shift` is the row's
# sum of `of_weights weights`, which is that of `gradient y`, over the fewer numbers of a value. Queries, keys and
# values come, and their gradients go, in the tensors that linear layers make: all in one, or the queries by themselves.


def _attention_in_graph(plain: Callable, *packed, bias=None) -> tf.Tensor:
    if bias is not None:
        return plain(*packed, bias=bias)

    @tf.custom_gradient
    def attend(*packed):
        def gradient_of(gradient):
            with tf.control_dependencies([gradient]):  # else TensorFlow reuses, and keeps, those of the forward pass
                q, k, v, weights = _attention_weights([tf.identity(tensor) for tensor in packed])
            of_weights, of_v = _of_weights_and_values(gradient, v, weights)
            # in the dtype of the tokens, as a graph rounds and stores each of these tensors
            of_logits = weights * (of_weights - tf.reduce_sum(of_weights * weights, -1, keepdims=True))
            return _packed(packed, _of_parts(q, k, of_logits, of_v))

        return plain(*packed), gradient_of

    return attend(*packed)


def _attention_compiled(plain: Callable, *packed, bias=None, along_width: bool = False) -> tf.Tensor:
    if bias is not None:
        return plain(*packed, bias=bias)

    @tf.custom_gradient
    def attend(*packed):
        q, k, v = _cut(packed) if along_width else unpacked(packed)
        weights = _weights_of(q, k)
        y = tf.matmul(weights, v)

        def gradient_of(gradient):
            of_weights, of_v = _of_weights_and_values(gradient, v, weights)
            shift = tf.reduce_sum(_wide(tf.transpose(gradient, [0, 2, 1, 3])) * _wide(y), -1, keepdims=True)
            of_logits = weights * tf.cast(_wide(of_weights) - shift, weights.dtype)
            return (_joined if along_width else _packed)(packed, _of_parts(q, k, of_logits, of_v))

        return tf.transpose(y, [0, 2, 1, 3]), gradient_of

    return attend(*packed)


def unpacked(packed: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Queries, keys and values, `(B, heads, N, head_dim)` each, of tensors `(B, N, parts, heads, head_dim)`."""
    # unstack, not indexing: the gradient of a slice writes three whole tensors of zeros
    return [
        part for tensor in packed for part in tf.unstack(tf.transpose(tensor, [2, 0, 3, 1, 4]), num=tensor.shape[2])
    ]


# XLA for TPUs stores the last two axes in tiles of 8 x 128. So a step on TPUs cuts queries, keys and values apart, and
# joins their gradients, along the width of the linear layer: tensors with an axis of parts and one of heads were copied
# and padded in each block.


def _cut(packed: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """As `unpacked`."""
    flat = [tf.split(tf.reshape(each, _sizes(each, [-1])), each.shape[2], axis=-1) for each in packed]
    apart = [tf.reshape(part, _sizes(each, each.shape[3:])) for each, parts in zip(packed, flat) for part in parts]
    return [tf.transpose(part, [0, 2, 1, 3]) for part in apart]


def _joined(packed: Sequence[tf.Tensor], gradients: Iterator[tf.Tensor]) -> list[tf.Tensor]:
    """The gradients of queries, keys and values, packed as these are."""
    flat = [tf.concat([_side_by_side(each, next(gradients)) for _ in range(each.shape[2])], -1) for each in packed]
    return [tf.reshape(one, _sizes(each, each.shape[2:])) for one, each in zip(flat, packed, strict=True)]


def _side_by_side(tensor, gradient):
    return tf.reshape(tf.transpose(gradient, [0, 2, 1, 3]), _sizes(tensor, [-1]))


def _sizes(tensor, rest):
    """`(B, N, *rest)`."""
    return [tf.shape(tensor)[0], tf.shape(tensor)[1] if tensor.shape[1] is None else tensor.shape[1], *rest]


def _attention_weights(packed):
    """Queries, keys and values, and the weights, `(B, heads, M, N)`."""
    q, k, v = unpacked(packed)
    return q, k, v, _weights_of(q, k)


def _weights_of(q, k):
    return tf.nn.softmax(tf.matmul(q * q.shape[-1] ** -0.5, k, transpose_b=True))


def _of_weights_and_values(gradient, v, weights):
    gradient = tf.transpose(gradient, [0, 2, 1, 3])
    return tf.matmul(gradient, v, transpose_b=True), tf.matmul(weights, gradient, transpose_a=True)


def _of_parts(q, k, of_logits, of_v) -> Iterator[tf.Tensor]:
    """The gradients of queries, keys and values, `(B, heads, N, head_dim)`."""
    scale = q.shape[-1] ** -0.5
    return iter((tf.matmul(of_logits, k * scale), tf.matmul(of_logits, q * scale, transpose_a=True), of_v))


def _packed(packed: Sequence[tf.Tensor], parts: Iterator[tf.Tensor]) -> list[tf.Tensor]:
    """As `_joined`."""
    return [tf.transpose(tf.stack([next(parts) for _ in range(tensor.shape[2])]), [1, 3, 0, 2, 4]) for tensor in packed]


# GELU and the product after it. TensorFlow's gradient makes some fifteen passes over a tensor that is four times as
# wide as the tokens, and keeps four such tensors. This one is `dy (Phi(x) + x phi(x))` and keeps `x` alone: `gelu(x)`,
# which the product's gradient needs, is computed again in the same pass.


def _dense_of_gelu(plain: Callable, dense, x, product: Callable | None = None) -> tf.Tensor:
    kernel, bias = (tf.cast(variable, x.dtype) for variable in (dense.kernel, dense.bias))
    product = _gelu_and_product_in_graph if product is None else product
    y = product(tf.reshape(x, [-1, x.shape[-1]]), kernel)
    is_static, width = None not in x.shape[1:], y.shape[-1]
    shape = [-1, *x.shape[1:-1], width] if is_static else tf.concat([tf.shape(x)[:-1], [width]], 0)
    return tf.reshape(tf.nn.bias_add(y, bias), shape)


@tf.custom_gradient
def _gelu_and_product_in_graph(x, kernel):
    def gradient_of(gradient):
        with tf.control_dependencies([gradient]):  # not before it is needed
            of_x, activation = _gelu_backward_in_one_pass(tf.identity(x), tf.matmul(gradient, kernel, transpose_b=True))
        return of_x, tf.matmul(activation, gradient, transpose_a=True)

    return tf.matmul(_gelu_in_one_pass(x), kernel), gradient_of


@tf.custom_gradient
def _gelu_and_product_compiled(x, kernel):
    def gradient_of(gradient):
        # erf, not erfc: XLA would find the forward pass' erfc, and keep it in float32
        share = 0.5 * (1.0 + tf.math.erf(_SQRT_HALF * _wide(x)))
        of_x, activation = _gelu_backward(x, tf.matmul(gradient, kernel, transpose_b=True), share)
        return of_x, tf.matmul(activation, gradient, transpose_a=True)

    return tf.matmul(_gelu(x), kernel), gradient_of


def _gelu_and_product_on_tpu(x, kernel):
    # else XLA for TPUs keeps what `x` was rounded from, in float32, and that twice
    return _gelu_and_product_compiled(_as_it_is(x), kernel)


@tf.custom_gradient
def _as_it_is(x):
    return _compat.as_it_is(x), lambda gradient: gradient


def _gelu(x):
    return tf.cast(0.5 * _wide(x) * tf.math.erfc(-_SQRT_HALF * _wide(x)), x.dtype)


def _gelu_backward(x, gradient, share=None):
    wide = _wide(x)
    share = 0.5 * tf.math.erfc(-_SQRT_HALF * wide) if share is None else share
    slope = share + wide * (_DENSITY_AT_0 * tf.exp(-0.5 * wide * wide))
    return tf.cast(_wide(gradient) * slope, x.dtype), tf.cast(wide * share, x.dtype)


_gelu_in_one_pass, _gelu_backward_in_one_pass = _in_one_pass(_gelu), _in_one_pass(_gelu_backward)


# XLA gathers bytes on every device. Words take longer on a processor, and on a TPU twice the traffic: for 64 images of
# 224 pixels, from image to patch projection, its compiler for v5e counts 390 MB with words and 203 MB with bytes.


def _take_patches(plain: Callable, patches, ids) -> tf.Tensor:
    return tf.gather(patches, ids, batch_dims=1)


# XLA leaves out a computation that stands in the step already. A rematerialised block's second one must stay.


def _of_second_call(plain: Callable, tensor) -> tf.Tensor:
    return _as_it_is(tensor)


def _wide(x):
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


# For a train step that runs as a graph on a processor
GRAPH_KERNELS: dict[str, Callable[..., tf.Tensor]] = {
    "layer_norm": _layer_norm,
    "attention": _attention_in_graph,
    "dense_of_gelu": _dense_of_gelu,
}
# For a train step that XLA compiles for a processor
XLA_KERNELS: dict[str, Callable[..., tf.Tensor]] = {"take_patches": _take_patches, "of_second_call": _of_second_call}
# For a train step that XLA compiles for an accelerator: XLA makes one pass of elementwise operations by itself,
# and keeps no more of LayerNorm than that kernel. On a processor the digits recipe's step is 2 to 5 % slower with them.
COMPILED_KERNELS: dict[str, Callable[..., tf.Tensor]] = {
    "attention": _attention_compiled,
    "dense_of_gelu": functools.partial(_dense_of_gelu, product=_gelu_and_product_compiled),
    **XLA_KERNELS,
}
TPU_KERNELS: dict[str, Callable[..., tf.Tensor]] = {
    **COMPILED_KERNELS,
    "attention": functools.partial(_attention_compiled, along_width=True),
    "dense_of_gelu": functools.partial(_dense_of_gelu, product=_gelu_and_product_on_tpu),
}
