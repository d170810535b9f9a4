"""Attentive pooling: from the tokens of an image to one vector, by learned queries."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_mae")
class AttentivePooling(keras.layers.Layer):
    """Pools patch tokens with the attention of learned queries (efficient probing).

    The patch tokens `x_n` themselves are the keys, and one linear layer without bias, `V`, gives the values. Query `m`
    of `M` pools its own share of the width, the channels `m D/M ... (m + 1) D/M`:

        `a_m = softmax_n(q_m . x_n / sqrt(D))`, `y_m = sum_n a_mn (V x_n)_m`, `y = concat(y_1, ..., y_M)`

    As `V` is linear, `y_m = (V sum_n a_mn x_n)_m` is computed: M means for an image are projected, not N tokens.

    It has `M D + D^2` weights. Queries start from a normal distribution of standard deviation 0.02, `V` from a uniform
    one within `1/sqrt(D)`, as in the published code. There are no other projections, no bias, and no class token: it
    reads patches only, as the published results for masked image models do.

    Args:
        num_queries: number of queries, `M`; must divide the width `D`.
        **kwargs: of `keras.layers.Layer`. Without a `dtype` it computes in float32, whatever the global policy is.

    Call arguments:
        tokens: patch tokens `(B, N, D)`, or `Tokens`, of which the patches are pooled.

    Returns:
        Tensor `(B, D)` in the layer's compute dtype.

    Raises:
        ValueError: when it is built, if `num_queries` does not divide `D`.

    Example:

    >>> pooling = AttentivePooling(num_queries=8)
    >>> pooling(encoder(images)["patch_tokens"]).shape
    TensorShape([2, 192])

    Reference: arXiv 2506.10178 (efficient probing), section 4; `poolings/ep.py` of its code (Apache-2.0).
    """

    def __init__(self, num_queries: int = 32, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        if not isinstance(num_queries, (int, np.integer)) or num_queries < 1:
            raise ValueError(f"num_queries is an integer from 1, got {num_queries!r}")
        self.num_queries: int = int(num_queries)

    def build(self, input_shape) -> None:
        if self.built:
            return
        dim = getattr(input_shape, "patches", input_shape)[-1]
        check_queries(self.num_queries, dim)
        normal = keras.initializers.RandomNormal(stddev=0.02)
        uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # its limit is 1 / sqrt(fan_in)
        self.queries = self.add_weight((self.num_queries, dim), initializer=normal, name="queries")
        self.values = self.add_weight((dim, dim), initializer=uniform, name="values_kernel")

    def attention(self, tokens) -> tf.Tensor:
        """The weights with which each query takes the patches, `(B, M, N)`; they sum to 1 over the patches."""
        tokens = tf.cast(getattr(tokens, "patches", tokens), self.compute_dtype)
        queries = tf.cast(tf.convert_to_tensor(self.queries), tokens.dtype)[None]
        return tf.nn.softmax(tf.matmul(queries * tokens.shape[-1] ** -0.5, tokens, transpose_b=True))

    def call(self, tokens):
        tokens = tf.cast(getattr(tokens, "patches", tokens), self.compute_dtype)
        dim = self.queries.shape[-1]
        if tokens.shape[-1] != dim:
            raise ValueError(f"the pooling was built for tokens {dim} wide, got {tokens.shape[-1]}: make another one")
        means = tf.transpose(tf.matmul(self.attention(tokens), tokens), [1, 0, 2])  # (M, B, D)
        values = tf.reshape(tf.cast(tf.convert_to_tensor(self.values), tokens.dtype), [dim, self.num_queries, -1])
        pooled = tf.matmul(means, tf.transpose(values, [1, 0, 2]))  # (M, B, D / M)
        return tf.reshape(tf.transpose(pooled, [1, 0, 2]), [-1, dim])

    def compute_output_shape(self, input_shape) -> tuple:
        shape = getattr(input_shape, "patches", input_shape)
        return (shape[0], shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_queries": self.num_queries}


def check_queries(num_queries: int, dim: int) -> None:
    """Raises a ValueError, with numbers that fit, if `num_queries` queries cannot share a width of `dim`."""
    if dim % num_queries:
        fitting = [count for count in range(1, dim + 1) if dim % count == 0]
        near = sorted(sorted(fitting, key=lambda count: abs(math.log(count / num_queries)))[:4])
        raise ValueError(
            f"each query pools an equal share of the width: num_queries must divide {dim}, got {num_queries}; "
            f"{', '.join(map(str, near))} do"
        )
