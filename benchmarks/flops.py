"""Floating-point operations of a train step: counted from its graph, and by hand.

A multiplication and an addition count as two. Only matrix products and convolutions are counted, as papers do.
"""

from __future__ import annotations

import collections
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from benchmarks.our_step import our_model
from benchmarks.sizes import SIZES, Size
from keras_mae import _compat
from keras_mae.optimizers import adamw


def counted(graph: tf.Graph) -> collections.Counter[str]:
    """The operations of a graph by the kind of node, those of the functions that it calls included.

    A loop's body counts once.

    Raises:
        ValueError: if the shape of a product is not static.
    """
    counts: collections.Counter[str] = collections.Counter()
    for operation in _operations(graph):
        count = _of(operation)
        if count:
            counts[operation.type] += count
    return counts


def _operations(graph: tf.Graph) -> Iterator[tf.Operation]:
    library = {function.signature.name: function for function in graph.as_graph_def().library.function}
    for operation in graph.get_operations():
        yield operation
        for attribute in operation.node_def.attr.values():
            if attribute.func.name in library:
                shapes = [tensor.shape for tensor in operation.inputs]
                definition = library[attribute.func.name]
                if len(definition.signature.input_arg) != len(shapes):  # a branch: without the condition
                    shapes = shapes[1:]
                with graph.as_default():
                    yield from _operations(_compat.graph_of(definition, shapes))


def _of(operation: tf.Operation) -> int:
    if operation.type not in ("MatMul", "BatchMatMulV2", "Conv2D", "Einsum"):
        return 0
    shapes = [tensor.shape for tensor in (*operation.inputs, operation.outputs[0])]
    if not all(shape.is_fully_defined() for shape in shapes):
        raise ValueError(f"count with static shapes: {operation.name} has {', '.join(map(str, shapes))}")
    left, right, product = (shape.as_list() for shape in shapes)
    if operation.type == "MatMul":
        summed = left[0 if operation.get_attr("transpose_a") else 1]
    elif operation.type == "BatchMatMulV2":
        summed = left[-2 if operation.get_attr("adj_x") else -1]
    elif operation.type == "Conv2D":
        summed = math.prod(right[:3])
    else:
        raise ValueError(f"{operation.name} is an Einsum: write it as products of matrices, or count it here")
    return 2 * math.prod(product) * summed


def of_step(size: Size, **model) -> int:
    """Operations per image of a train step, forward and backward, counted from the graph that `fit` gives to XLA.

    Without XLA, and on accelerators, there are a few more: see `keras_mae.layers.kernels`.
    """
    mae = our_model(size, **model)
    mae.compile(optimizer=adamw(mae, 1e-4), jit_compile=True)
    mae.optimizer.build(mae.trainable_variables)
    images = tf.TensorSpec((size.batch_size, *size.image_shape), tf.uint8)
    graph = tf.function(mae.train_step, autograph=False).get_concrete_function(images).graph
    return sum(counted(graph).values()) // size.batch_size


def by_hand(size: Size, **model: Any) -> int:
    """The same, from the sizes alone.

    A linear layer of widths (a, b) takes 2 a b for each token; a block of width D and N tokens 2 N (12 D^2) in its
    linear layers and 4 N^2 D in attention. A block of cross-attention, of width d with M queries to N tokens of width
    D, takes 2 M (10 d^2) in the linear layers of the queries (d^2 each before and after attention, 8 d^2 in the MLP),
    4 N D d for keys and values, and 4 M N d in attention; a sum of n layers of the encoder 2 n N D for each block. The
    backward pass takes twice the forward pass, but for the gradient with respect to pixels, which nobody asks for.
    Predictions are made for masked patches only: M of them, the share `predict_ratio`. The plain decoder sees these,
    the visible ones and the prefix; all, if the encoder has made mask tokens of them.

    Args: as of `of_parts_by_hand`.
    """
    return sum(of_parts_by_hand(size, **model))


def of_parts_by_hand(
    size: Size,
    mask_ratio: float = 0.75,
    mask_tokens_in_encoder: bool = False,
    decoder: str = "transformer",
    encoder_layers: Sequence[int] | None = None,
    predict_ratio: float = 1.0,
) -> tuple[int, int]:
    """As `by_hand`, of the encoder and of the decoder."""
    patches = (size.image_size // size.patch_size) ** 2
    visible = int(patches * (1 - mask_ratio))
    predicted = max(1, round((patches - visible) * predict_ratio)) if visible < patches else 0
    pixels = size.channels * size.patch_size**2
    encoded = patches if mask_tokens_in_encoder else visible
    tokens = encoded + size.num_cls_tokens
    width, narrow = size.hidden_dim, size.decoder_hidden_dim

    def blocks(layers: int, tokens: int, width: int) -> int:
        return layers * (24 * tokens * width**2 + 4 * tokens**2 * width)

    first = 2 * encoded * pixels * width
    encoder = blocks(size.num_layers, tokens, width)
    if decoder == "cross":
        each = 20 * predicted * narrow**2 + 4 * tokens * width * narrow + 4 * predicted * tokens * narrow
        each += 2 * len(encoder_layers or ()) * tokens * width
        behind = size.decoder_num_layers * each
    else:
        seen = (patches if mask_tokens_in_encoder else visible + predicted) + size.num_cls_tokens
        behind = 2 * tokens * width * narrow + blocks(size.decoder_num_layers, seen, narrow)
    behind += 2 * predicted * narrow * pixels
    return 2 * first + 3 * encoder, 3 * behind


def result(names: tuple[str, ...] = ("vit_tiny", "vit_base")) -> str:
    """Gigaflops per image of each step, and how many times as many it takes with mask tokens in the encoder."""
    record: dict[str, float] = {}
    for name in names:
        plain = of_step(SIZES[name])
        with_mask_tokens = of_step(SIZES[name], mask_tokens_in_encoder=True)
        record |= {
            f"{name}_gflop_per_image": round(plain / 1e9, 3),
            f"{name}_counted_over_by_hand": round(plain / by_hand(SIZES[name]), 4),
            f"{name}_mask_tokens_ratio": round(with_mask_tokens / plain, 3),
        }
    return json.dumps({"benchmark": "flops", **record})
