"""The gradients that layers have in a train step: against float64, and against TensorFlow's own."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_mae.layers import LayerNorm, SelfAttention, TransformerBlock, kernels
from keras_mae.layers.attention import attend
from keras_mae.layers.kernels import COMPILED_KERNELS, GRAPH_KERNELS, TPU_KERNELS, use_kernels
from keras_mae.layers.serving_kernels import SERVING_KERNELS
from keras_mae.layers.transformer_block import dense_of_gelu
from tests.base import random_images, small_mae

X = np.concatenate([np.linspace(-12, 12, 401), [0.0, 1e-4, -1e-4]]).astype("float32")
# bfloat16 has 8 bits: what is computed in float32 is rounded once
TOLERANCE = {"float64": 1e-14, "float32": 1e-6, "bfloat16": 2**-8}


def graph_of(function, *tensors):
    """A train step's graph, and its concrete function: value and gradients of all tensors."""

    def value_and_gradients(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = function(*tensors)
        direction = tf.cast(tf.reshape(tf.sin(tf.range(tf.size(y), dtype=tf.float32)), tf.shape(y)), y.dtype)
        return y, *tape.gradient(y, tensors, output_gradients=direction)

    return tf.function(value_and_gradients, autograph=False).get_concrete_function(
        *(tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors)
    )


def both(function, *tensors):
    """Value and gradients by TensorFlow and by the kernels, in float64."""
    plain = graph_of(function, *tensors)(*tensors)
    with use_kernels(GRAPH_KERNELS):
        fast = graph_of(function, *tensors)(*tensors)
    assert [tensor.dtype for tensor in fast] == [tensor.dtype for tensor in plain]
    return tuple([tensor.numpy().astype("float64") for tensor in tensors] for tensors in (plain, fast))


def calls_into_xla(graph):
    return [op for op in graph.get_operations() if op.type.endswith("PartitionedCall")]


def unit(dtype):
    """A layer that multiplies a column by one."""
    dense = keras.layers.Dense(1, kernel_initializer="ones", dtype=dtype)
    dense.build((None, 1))
    return dense


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_gelu(dtype):
    x = tf.cast(X[:, None], dtype)
    rounded = x.numpy().astype("float64")[:, 0]
    phi = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in rounded])
    density = np.exp(-0.5 * rounded**2) / math.sqrt(2 * math.pi)
    dense = unit(dtype)
    with use_kernels(GRAPH_KERNELS):
        y, gradient = graph_of(lambda x: dense_of_gelu(dense, x), x)(x)
    direction = tf.cast(tf.sin(tf.range(len(X), dtype=tf.float32)), dtype).numpy().astype("float64")
    for got, expected in ((y, rounded * phi), (gradient, direction * (phi + rounded * density))):
        assert got.dtype == x.dtype
        atol = 2e-7 if dtype != "float64" else 1e-16
        np.testing.assert_allclose(got.numpy().astype("float64")[:, 0], expected, rtol=TOLERANCE[dtype], atol=atol)


def test_outside_of_a_train_step_gelu_is_that_of_keras():
    """Which TensorFlow fuses in an exported graph."""
    dense = unit("float32")
    graph = tf.function(lambda x: dense_of_gelu(dense, x)).get_concrete_function(tf.TensorSpec([3, 1])).graph
    assert "Erfc" in {operation.type for operation in graph.get_operations()}
    assert not {"IdentityN", "PartitionedCall", "StatefulPartitionedCall"} & {op.type for op in graph.get_operations()}


@pytest.mark.parametrize("shape", [(2, 5, 8), (3, 8), (1, 2, 3, 8), (4, 1, 1)])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("table", [GRAPH_KERNELS, SERVING_KERNELS], ids=["graph", "serving"])
def test_layer_norm(shape, dtype, table):
    rng = np.random.default_rng(0)
    x = tf.cast(rng.normal(3.0, 2.0, shape), dtype)
    norm = LayerNorm(epsilon=1e-6, dtype="mixed_bfloat16" if dtype == "bfloat16" else dtype)
    norm.build(shape)
    for weight in norm.trainable_variables:
        weight.assign(rng.normal(size=shape[-1]))

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = norm(x)
        direction = tf.cast(tf.reshape(tf.sin(tf.range(tf.size(y), dtype=tf.float32)), tf.shape(y)), y.dtype)
        return y, *tape.gradient(y, [x, *norm.trainable_variables], output_gradients=direction)

    plain = tf.function(step, autograph=False)(x)
    with use_kernels(table):
        fast = tf.function(step, autograph=False)(x)
    for got, expected in zip(fast, plain, strict=True):
        assert got.dtype == expected.dtype
        got, expected = (tensor.numpy().astype("float64") for tensor in (got, expected))
        scale = max(np.abs(expected).max(), 1.0)  # sums of up to ten terms, in another order: some roundings
        np.testing.assert_allclose(got, expected, rtol=TOLERANCE[dtype] * 4, atol=4 * TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("table", [GRAPH_KERNELS, SERVING_KERNELS], ids=["graph", "serving"])
def test_layer_norm_against_float64(table):
    rng = np.random.default_rng(1)
    x = rng.normal(100.0, 1.0, (64, 192))  # a mean that is large against the deviation
    norm = LayerNorm(epsilon=1e-6)
    norm.build(x.shape)
    with use_kernels(table):
        y, _ = graph_of(norm, tf.constant(x, tf.float32))(tf.constant(x, tf.float32))
    rounded = x.astype("float32").astype("float64")
    expected = (rounded - rounded.mean(1, keepdims=True)) / np.sqrt(rounded.var(1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(y, expected, atol=3e-5)


@pytest.mark.parametrize("length", [1, 7])
def test_attention(length):
    attention = SelfAttention(12, 3)
    attention.build((None, length, 12))
    attention.qkv.bias.assign(np.random.default_rng(0).normal(size=36))
    x = tf.constant(np.random.default_rng(1).normal(size=(4, length, 12)), tf.float32)
    plain, fast = both(attention, x)
    for got, expected in zip(fast, plain, strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-6)


def queries_keys_values(dtype, batch=2, queries=3, keys=5):
    rng = np.random.default_rng(0)
    shapes = (batch, queries, 1, 2, 4), (batch, keys, 2, 2, 4)
    return [tf.cast(rng.normal(scale=1.5, size=shape), dtype) for shape in shapes]


def of_torch(queries, keys_values):
    """Value and gradients of attention by PyTorch in float64, for the direction of `graph_of`."""
    q, kv = (torch.tensor(tensor.numpy().astype("float64"), requires_grad=True) for tensor in (queries, keys_values))
    heads = [tensor.transpose(1, 2) for tensor in (q[:, :, 0], kv[:, :, 0], kv[:, :, 1])]
    y = torch.nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2)
    y.backward(torch.sin(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape))
    return [tensor.detach().numpy() for tensor in (y, q.grad, kv.grad)]


KERNELS = {"plain": {}, "graph": GRAPH_KERNELS, "compiled": COMPILED_KERNELS, "tpu": TPU_KERNELS}


@pytest.mark.parametrize(
    ("kernels", "dtype", "queries", "keys"),
    [
        pytest.param(kernels, dtype, *((3, 5), (5, 1), (1, 4))[(row + column) % 3], id=f"{name}-{dtype}")
        for row, (name, kernels) in enumerate(KERNELS.items())
        for column, dtype in enumerate(["float64", "float32", "bfloat16"])
    ],
)
def test_attention_of_other_tokens(kernels, dtype, queries, keys):
    """Queries of some tokens, keys and values of others, in two tensors."""
    tensors = queries_keys_values(dtype, queries=queries, keys=keys)
    with use_kernels(kernels):
        got = graph_of(attend, *tensors)(*tensors)
    # a direction of up to 8 bits, weights and logits rounded once each, sums of up to five products
    bound = 16 * TOLERANCE[dtype]
    for one, other in zip(got, of_torch(*tensors), strict=True):
        assert one.dtype == tensors[0].dtype and one.shape == other.shape
        np.testing.assert_allclose(one.numpy().astype("float64"), other, rtol=0, atol=max(bound, 1e-6))


@pytest.mark.parametrize("kernels", [GRAPH_KERNELS, COMPILED_KERNELS, TPU_KERNELS], ids=["graph", "compiled", "tpu"])
def test_attention_of_an_unknown_number_of_images(kernels):
    tensors = queries_keys_values("float32")
    open_ = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in tensors]
    with use_kernels(kernels):
        y = tf.function(attend, autograph=False).get_concrete_function(*open_)(*tensors)
    np.testing.assert_allclose(y, of_torch(*tensors)[0], atol=1e-6)  # roundings of float32 at values of up to 4


def block_and_step(dtype, rematerialize=False):
    """A block with random weights, and a function of its input to a loss and the gradients of all of them and of it."""
    block = TransformerBlock(12, 3, 24, dtype=dtype)
    block.build((None, 5, 12))
    block.rematerialize = rematerialize
    for weight in block.trainable_variables:
        weight.assign(np.random.default_rng(len(weight.shape)).normal(scale=0.5, size=weight.shape))

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.cast(block(x), tf.float32) ** 2)
        return loss, *tape.gradient(loss, [*block.trainable_variables, x])

    return block, step


BLOCK_INPUT = np.random.default_rng(1).normal(size=(4, 5, 12)).astype("float32")


def assert_near(got, expected, names, bound):
    for one, other, name in zip(got, expected, names, strict=True):
        assert one.dtype == other.dtype
        one, other = (np.asarray(tf.cast(tensor, tf.float64)) for tensor in (one, other))
        assert np.abs(one - other).max() <= bound * max(np.abs(other).max(), 1), name


@pytest.mark.medium
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_block(dtype):
    """With every weight's gradient, and an unknown number of images."""
    block, step = block_and_step(dtype)
    x = tf.cast(BLOCK_INPUT, block.compute_dtype)
    signature = [tf.TensorSpec([None, 5, 12], x.dtype)]
    plain = tf.function(step, autograph=False, input_signature=signature)(x)
    with use_kernels(GRAPH_KERNELS):
        fast = tf.function(step, autograph=False, input_signature=signature)(x)
    names = ["loss", *(weight.path for weight in block.trainable_variables), "x"]
    assert_near(fast[1:], plain[1:], names[1:], 1e-5 if dtype == "float32" else 0.02)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("kernels", "dtype", "rematerialize", "bound"),
    [
        pytest.param(COMPILED_KERNELS, "float32", False, 1e-5, id="gpu-float32"),
        pytest.param(COMPILED_KERNELS, "float32", True, 1e-5, id="gpu-float32-again"),
        pytest.param(TPU_KERNELS, "float32", True, 1e-5, id="tpu-float32-again"),
        # sixteen roundings, to 8 and to 11 bits, of numbers that partly cancel; a TPU has no float16
        pytest.param(COMPILED_KERNELS, "mixed_bfloat16", False, 16 * 2**-9, id="gpu-bfloat16"),
        pytest.param(TPU_KERNELS, "mixed_bfloat16", False, 16 * 2**-9, id="tpu-bfloat16"),
        pytest.param(COMPILED_KERNELS, "mixed_float16", False, 16 * 2**-12, id="gpu-float16"),
    ],
)
def test_block_compiled_whole(kernels, dtype, rematerialize, bound):
    """The gradients of an accelerator's step, in XLA on a processor, against those of a plain block in float32."""
    block, step = block_and_step(dtype, rematerialize)
    _, plain = block_and_step("float32")
    x = tf.cast(BLOCK_INPUT, block.compute_dtype)
    with use_kernels(kernels):
        got = tf.function(step, autograph=False, jit_compile=True)(x)
    assert [gradient.dtype for gradient in got[1:]] == [*(w.dtype for w in block.trainable_variables), x.dtype]
    expected = plain(tf.cast(x, tf.float32))
    names = ["loss", *(weight.path for weight in block.trainable_variables), "x"]
    assert_near([tf.cast(tensor, tf.float32) for tensor in got], expected, names, bound)


@pytest.mark.parametrize("kernels", [GRAPH_KERNELS, COMPILED_KERNELS], ids=["graph", "compiled"])
def test_attention_with_a_bias_is_plain(kernels):
    attention = SelfAttention(12, 3)
    attention.build((None, 5, 12))
    bias = tf.random.normal((3, 5, 5))

    def operations():
        graph = graph_of(lambda x: attention(x, bias=bias), tf.zeros((2, 5, 12))).graph
        return [operation.type for operation in graph.get_operations()]

    plain = operations()
    with use_kernels({"attention": kernels["attention"]}):
        assert operations() == plain


def test_the_kernels_around_stay():
    with use_kernels(COMPILED_KERNELS), use_kernels(None):
        graph = graph_of(SelfAttention(12, 3), tf.zeros((2, 5, 12))).graph
    assert sum(operation.type == "Softmax" for operation in graph.get_operations()) == 1
    assert sum(operation.type == "BatchMatMulV2" for operation in graph.get_operations()) == 6


def assert_weights_are_computed_twice(graph):
    """Those of the forward pass serve it alone."""
    weights = [op for op in graph.get_operations() if op.type == "Softmax"]
    assert len(weights) == 2
    assert {op.type for op in weights[0].outputs[0].consumers()} == {"BatchMatMulV2"}
    assert len(weights[0].outputs[0].consumers()) == 1


def test_what_is_kept_for_the_backward_pass():
    """GELU's reads x, attention's the queries, keys and values: nothing that the forward pass computed from them."""
    dense = unit("float32")
    with use_kernels(GRAPH_KERNELS):
        graph = graph_of(lambda x: dense_of_gelu(dense, x), tf.constant(X[:, None])).graph
    forward, backward = calls_into_xla(graph)
    again = backward.inputs[0].op
    assert again.type == "Identity" and again.control_inputs
    assert again.inputs[0].op.inputs[0] is graph.inputs[0] and forward.inputs[0].op.inputs[0] is graph.inputs[0]

    attention = SelfAttention(12, 3)
    attention.build((None, 5, 12))
    with use_kernels(GRAPH_KERNELS):
        graph = graph_of(attention, tf.zeros((2, 5, 12))).graph
    assert_weights_are_computed_twice(graph)
    tensors = queries_keys_values("float32")
    with use_kernels(GRAPH_KERNELS):
        assert_weights_are_computed_twice(graph_of(attend, *tensors).graph)


def test_what_a_compiled_step_keeps_for_the_backward_pass():
    """GELU's reads x alone, and no operation on it that XLA could share with the forward pass; attention's the weights,
    in the dtype of the tokens.
    """
    dense, attention = unit("float32"), SelfAttention(12, 3, dtype="mixed_bfloat16")
    attention.build((None, 5, 12))
    with use_kernels(COMPILED_KERNELS):
        mlp = graph_of(lambda x: dense_of_gelu(dense, x), tf.constant(X[:, None])).graph
        graph = graph_of(attention, tf.zeros((2, 5, 12), "bfloat16")).graph
    assert not calls_into_xla(mlp)
    assert sorted(op.type for op in mlp.get_operations() if op.type.startswith("Erf")) == ["Erf", "Erfc"]
    (weights,) = (op for op in graph.get_operations() if op.type == "Softmax")
    assert weights.outputs[0].dtype == tf.bfloat16
    assert sorted(op.type for op in weights.outputs[0].consumers()) == ["BatchMatMulV2", "BatchMatMulV2", "Mul"]


def test_a_build_of_tensorflow_that_cannot_compile_for_processors(monkeypatch):
    """As `tensorflow-tpu`: the step of a graph takes no kernels there, and trains to the same numbers."""
    assert kernels.compiles_on_processor() and kernels.compiles_on_processor.cache_info().currsize == 1

    def lacking(function):
        def compiled(*arguments):
            raise tf.errors.NotFoundError(None, None, "could not find registered transfer manager for platform Host")

        return compiled

    images, losses = random_images(4, (8, 12, 3)), []
    for builds in (True, False):
        with monkeypatch.context() as patch:
            if not builds:
                patch.setattr(kernels, "_in_one_pass", lacking)
                patch.setattr(kernels, "compiles_on_processor", kernels.compiles_on_processor.__wrapped__)
            mae = small_mae()
            mae.compile(optimizer="sgd", jit_compile=False)
            taken: list = []
            patch.setattr(
                mae, "_kernels", lambda *of, own=mae._kernels, taken=taken: taken.append(own(*of)) or taken[-1]
            )
            losses.append(mae.fit(images, epochs=2, shuffle=False, verbose=0).history["loss"])
        assert taken and all(one is (kernels.GRAPH_KERNELS if builds else None) for one in taken)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)  # another order of float32 sums
