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
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from keras_mae import _compat
from keras_mae.layers.attention_kernels import attention_compiled, attention_in_graph, wide

SQRT_HALF = 0.7071067811865476
_DENSITY_AT_0 = 0.3989422804014327

Kernels = Mapping[str, Callable[..., Any]]

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
        def either(*arguments: Any, **keywords: Any) -> Any:
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
    tokens, gain, offset = rows_of(wide(x)), wide(gain), wide(offset)
    average = tf.ones_like(gain) / gain.shape[0]
    mean = tf.linalg.matvec(tokens, average)[:, None]
    centered = tokens - mean
    scale = tf.math.rsqrt(tf.linalg.matvec(centered * centered, average)[:, None] + epsilon)
    return tf.cast(tf.reshape(centered * scale * gain + offset, tf.shape(x)), x.dtype), mean, scale


@_in_one_pass
def _layer_norm_backward(x, gain, mean, scale, gradient):
    normalized, gradient, weights = (rows_of(wide(x)) - mean) * scale, rows_of(wide(gradient)), wide(gain)
    product = gradient * normalized
    average = weights / weights.shape[0]
    along_mean, along_normalized = tf.linalg.matvec(gradient, average), tf.linalg.matvec(product, average)
    of_x = scale * (gradient * weights - along_mean[:, None] - normalized * along_normalized[:, None])
    of_gain, of_offset = tf.reduce_sum(product, 0), tf.reduce_sum(gradient, 0)
    return tf.cast(tf.reshape(of_x, tf.shape(x)), x.dtype), *(tf.cast(of, gain.dtype) for of in (of_gain, of_offset))


def rows_of(x):
    """All tokens of a tensor `(..., D)` as rows, `(M, D)`."""
    return tf.reshape(x, [-1, x.shape[-1]])


# Linear layers. TensorFlow joins a product of matrices and `bias_add` to one operation, but its gradient of the bias
# adds in the dtype of the tokens: in bfloat16 the sum over some thousand tokens is far off. A product with ones adds in
# float32, and takes less time.


def dense_by(plain: Callable, dense, x, training=None, *, add: Callable) -> tf.Tensor:
    """A linear layer as a product of matrices, and its bias by `add`."""
    if not dense.use_bias:
        return plain(dense, x)
    kernel, bias = (tf.cast(variable, x.dtype) for variable in (dense.kernel, dense.bias))
    y = as_tokens(add(tf.matmul(rows_of(x), kernel), bias), x)
    return y if dense.activation is None else dense.activation(y)


@tf.custom_gradient
def _plus_bias(y, bias):
    def gradient_of(gradient):
        ones = tf.ones([1, tf.shape(gradient)[0]], gradient.dtype)
        return gradient, tf.matmul(ones, gradient)[0]

    return tf.nn.bias_add(y, bias), gradient_of


def as_tokens(rows, x):
    """Rows of all tokens, `(M, D)`, as tensor `(..., D)` with the other axes of `x`."""
    is_static, width = None not in x.shape[1:], rows.shape[-1]
    return tf.reshape(rows, [-1, *x.shape[1:-1], width] if is_static else tf.concat([tf.shape(x)[:-1], [width]], 0))


# GELU and the product after it. TensorFlow's gradient makes some fifteen passes over a tensor that is four times as
# wide as the tokens, and keeps four such tensors. This one is `dy (Phi(x) + x phi(x))` and keeps `x` alone: `gelu(x)`,
# which the product's gradient needs, is computed again in the same pass.


def _dense_of_gelu(plain: Callable, dense, x, product: Callable, add: Callable) -> tf.Tensor:
    kernel, bias = (tf.cast(variable, x.dtype) for variable in (dense.kernel, dense.bias))
    return as_tokens(add(product(rows_of(x), kernel), bias), x)


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
        share = 0.5 * (1.0 + tf.math.erf(SQRT_HALF * wide(x)))
        of_x, activation = _gelu_backward(x, tf.matmul(gradient, kernel, transpose_b=True), share)
        return of_x, tf.matmul(activation, gradient, transpose_a=True)

    return tf.matmul(_gelu(x), kernel), gradient_of


def _gelu_and_product_on_tpu(x, kernel):
    # else XLA for TPUs keeps what `x` was rounded from, in float32, and that twice
    return _gelu_and_product_compiled(_as_it_is(x), kernel)


@tf.custom_gradient
def _as_it_is(x):
    return _compat.behind_a_barrier([x])[0], lambda gradient: gradient


def _gelu(x):
    return tf.cast(0.5 * wide(x) * tf.math.erfc(-SQRT_HALF * wide(x)), x.dtype)


def _gelu_backward(x, gradient, share=None):
    z = wide(x)
    share = 0.5 * tf.math.erfc(-SQRT_HALF * z) if share is None else share
    slope = share + z * (_DENSITY_AT_0 * tf.exp(-0.5 * z * z))
    return tf.cast(wide(gradient) * slope, x.dtype), tf.cast(z * share, x.dtype)


_gelu_in_one_pass, _gelu_backward_in_one_pass = _in_one_pass(_gelu), _in_one_pass(_gelu_backward)


# XLA gathers bytes on every device. Words take longer on a processor, and on a TPU twice the traffic: for 64 images of
# 224 pixels, from image to patch projection, its compiler for v5e counts 390 MB with words and 203 MB with bytes.


def _take_patches(plain: Callable, patches, ids) -> tf.Tensor:
    return tf.gather(patches, ids, batch_dims=1)


# XLA leaves out a computation that stands in the step already. A rematerialised block's second one must stay, and
# must not come before the gradient that needs it.


def _noting_its_gradient(plain: Callable, result, gradients: list) -> tf.Tensor:
    @tf.custom_gradient
    def noting(result):
        def gradient_of(gradient):
            gradients.append(gradient)
            return gradient

        return tf.identity(result), gradient_of

    return noting(result)


def _of_second_call(plain: Callable, tensors, gradient) -> list[tf.Tensor]:
    @tf.custom_gradient
    def behind(*tensors):
        return _compat.behind_a_barrier([*tensors, gradient])[:-1], lambda *of_tensors: of_tensors

    return behind(*tensors)


# For a train step that runs as a graph on a processor
GRAPH_KERNELS: dict[str, Callable[..., tf.Tensor]] = {
    "layer_norm": _layer_norm,
    "attention": attention_in_graph,
    "dense": functools.partial(dense_by, add=_plus_bias),
    "dense_of_gelu": functools.partial(_dense_of_gelu, product=_gelu_and_product_in_graph, add=_plus_bias),
}
# For a train step that XLA compiles for a processor
XLA_KERNELS: dict[str, Callable[..., Any]] = {
    "take_patches": _take_patches,
    "noting_its_gradient": _noting_its_gradient,
    "of_second_call": _of_second_call,
}
# For a train step that XLA compiles for an accelerator: XLA makes one pass of elementwise operations by itself,
# and keeps no more of LayerNorm than that kernel. On a processor the digits recipe's step is 2 to 5 % slower with them.
COMPILED_KERNELS: dict[str, Callable[..., tf.Tensor]] = {
    "attention": attention_compiled,
    "dense_of_gelu": functools.partial(_dense_of_gelu, product=_gelu_and_product_compiled, add=tf.nn.bias_add),
    **XLA_KERNELS,
}
TPU_KERNELS: dict[str, Callable[..., tf.Tensor]] = {
    **COMPILED_KERNELS,
    "attention": functools.partial(attention_compiled, along_width=True),
    "dense_of_gelu": functools.partial(_dense_of_gelu, product=_gelu_and_product_on_tpu, add=tf.nn.bias_add),
}
