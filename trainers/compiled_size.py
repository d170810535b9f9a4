"""The memory of a step that XLA compiles whole, for an accelerator: counted from the kernels of such a step.

Neither TensorFlow nor Keras is imported, as in `step_size`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.step_size import Blocks, CrossBlocks, bytes_each, count


class Accelerator(NamedTuple):
    """How a device stores matrices: in whole tiles of so many rows and columns."""

    rows: int
    columns: int


GPU = Accelerator(1, 1)
TPU = Accelerator(8, 128)


def kept(blocks: Blocks | CrossBlocks, device: Accelerator) -> int:
    """Numbers that one block of a compiled step keeps for its gradient, for an image.

    Of each token, D wide: the block's input and the sum after attention; both of these normalised; queries, keys and
    values; attention's output by heads, and as the next product takes it; the MLP's hidden layer before GELU, which is
    computed again (a gated MLP keeps its two halves and their product). And the attention's weights. LayerScale keeps
    both branches before the gain.
    """
    tokens, dim = _up(blocks.tokens, device.rows), blocks.dim
    if isinstance(blocks, CrossBlocks):
        weights = blocks.heads * tokens * _up(blocks.memory, device.columns)
        return tokens * (7 * dim + blocks.mlp_dim) + weights + 2 * _up(blocks.memory, device.rows) * dim
    dims = 9 + 2 * blocks.has_rotation + 4 * blocks.has_qk_norm + 2 * blocks.has_gains
    hidden = (3 if blocks.gated else 1) * blocks.mlp_dim
    return tokens * (dims * dim + hidden) + _weights(blocks, device)


def passing(blocks: Blocks | CrossBlocks, device: Accelerator) -> int:
    """Numbers that the gradient of one block holds beside what is kept, for an image.

    That of its output, and of the MLP the hidden layer after GELU and its gradient, or of attention the gradients of
    weights, queries, keys and values.
    """
    tokens = _up(blocks.tokens, device.rows)
    return tokens * blocks.dim + max(2 * tokens * blocks.mlp_dim, 3 * tokens * blocks.dim + _weights(blocks, device))


def _weights(blocks: Blocks | CrossBlocks, device: Accelerator) -> int:
    others = blocks.memory if isinstance(blocks, CrossBlocks) else blocks.tokens
    return blocks.heads * _up(blocks.tokens, device.rows) * _up(others, device.columns)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def fixed(weights: int, trainable: int, dtype_policy: str, parts: int = 1) -> tuple[int, int]:
    """Bytes that do not grow with the batch: all along, and at the end of the backward pass.

    Weights, AdamW's two moments and, of several parts, the sum of their gradients, all in float32, are there all along.
    The gradients are there at the end, when no activations are.
    """
    return 4 * weights + 8 * trainable + (4 * trainable if parts > 1 else 0), 4 * trainable


def memory(config: PretrainConfig, images: float, device: Accelerator) -> int | None:
    """Bytes of a compiled step on one device, with so many images at once; None as of `step_size`.

    A policy of 16 bits has the weights in 16 bits, too, while there are activations.
    """
    model = count(config)
    if model is None:
        return None
    again, each = config.run.rematerialize, bytes_each(config.run.dtype_policy)
    if again:
        inputs = sum(p.layers * _up(p.tokens, device.rows) * p.dim for p in model.parts)
        numbers = inputs + max(kept(p, device) + passing(p, device) for p in model.parts)
    else:
        numbers = sum(p.layers * kept(p, device) for p in model.parts) + passing(model.parts[-1], device)
    numbers += sum(p.kept_of_sums for p in model.parts)
    of_image = each * numbers + 8 * model.predicted  # target and difference in float32
    always, at_end = fixed(model.weights, model.trainable, config.run.dtype_policy, config.optimizer.accumulation_steps)
    casts = each * model.trainable if each < 4 else 0
    if config.optimizer.accumulation_steps > 1:
        return always + at_end + math.ceil(images) * of_image
    return always + max(casts + math.ceil(images) * of_image, at_end)
