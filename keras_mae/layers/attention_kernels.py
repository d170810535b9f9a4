"""Attention with own gradients, for the tables of `keras_mae.layers.kernels`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

# In a graph only queries, keys and values are kept; the backward pass computes the weights again (arXiv
# 2205.14135). A compiled step keeps the weights, too, in the dtype of the tokens: on an H200 computing them again cost
# more time than it was worth. The gradient of a row of logits is `weights (of_weights - shift)`; `shift` is the row's
# sum of `of_weights weights`, which is that of `gradient y`, over the fewer numbers of a value. Queries, keys and
# values come, and their gradients go, in the tensors that linear layers make: all in one, or the queries by themselves.


def attention_in_graph(plain: Callable, *packed, bias=None) -> tf.Tensor:
    """`attend` in a graph on a processor."""
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


def attention_compiled(plain: Callable, *packed, bias=None, along_width: bool = False) -> tf.Tensor:
    """`attend` in a step that XLA compiles; `along_width` on TPUs."""
    if bias is not None:
        return plain(*packed, bias=bias)

    @tf.custom_gradient
    def attend(*packed):
        q, k, v = _cut(packed) if along_width else unpacked(packed)
        weights = _weights_of(q, k)
        y = tf.matmul(weights, v)

        def gradient_of(gradient):
            of_weights, of_v = _of_weights_and_values(gradient, v, weights)
            shift = tf.reduce_sum(wide(tf.transpose(gradient, [0, 2, 1, 3])) * wide(y), -1, keepdims=True)
            of_logits = weights * tf.cast(wide(of_weights) - shift, weights.dtype)
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


def wide(x):
    """In float32, or float64 if it is."""
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
