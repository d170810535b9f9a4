"""The size of a pretraining step, counted from its config: weights, numbers that are kept, operations.

Neither TensorFlow nor Keras is imported, so that settings can be chosen before they are.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from keras_mae.encoders.presets import encoder_arguments
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.encoder_parts import ViT
from keras_mae.trainers.model_parts import MAE, Cross, Transformer

PASSES = 3  # of a product: forward, and for the gradients of its input and of its weights


class Blocks(NamedTuple):
    """Transformer blocks: how many, how wide, of what kind, and how many tokens they see.

    `has_gains`: whether both branches have a LayerScale.
    """

    layers: int
    dim: int
    mlp_dim: int
    heads: int
    tokens: int
    gated: bool = False
    has_rotation: bool = False
    has_qk_norm: bool = False
    has_gains: bool = False

    @property
    def weights(self) -> int:
        """Numbers in the weights."""
        hidden = (2 if self.gated else 1) * self.mlp_dim
        return self.layers * (4 * self.dim**2 + self.dim * (hidden + self.mlp_dim) + 9 * self.dim + hidden)

    @property
    def kept(self) -> int:
        """Numbers that one block keeps for its gradient, for an image."""
        dims = 16 + 2 * self.has_rotation + 4 * self.has_qk_norm
        hidden = (6 if self.gated else 3) * self.mlp_dim
        return self.tokens * (dims * self.dim + hidden + 2 * self.heads * self.tokens)

    @property
    def kept_of_sums(self) -> int:
        """Numbers kept beside the blocks."""
        return 0

    @property
    def products(self) -> int:
        """Multiplications of the forward pass of all blocks, for an image."""
        hidden = (2 if self.gated else 1) * self.mlp_dim
        of_weights = 4 * self.dim**2 + self.dim * (hidden + self.mlp_dim)
        return self.layers * self.tokens * (of_weights + 2 * self.tokens * self.dim)

    @property
    def passing(self) -> int:
        """Numbers that one block holds at once for an image if it keeps nothing: in attention, or in the MLP."""
        hidden = (4 if self.gated else 2) * self.mlp_dim
        return self.tokens * (2 * self.dim + max(hidden, 4 * self.dim + 2 * self.heads * self.tokens))


class CrossBlocks(NamedTuple):
    """Blocks of cross-attention: how many, how wide, how many queries they have, and which tokens these attend to.

    Attributes:
        layers, dim, mlp_dim, heads: of the blocks.
        tokens: number of queries.
        memory, memory_dim: number and width of the tokens that are attended to.
        summed: number of the encoder's layers of which each block has its own normalised sum; 0 for none.
    """

    layers: int
    dim: int
    mlp_dim: int
    heads: int
    tokens: int
    memory: int
    memory_dim: int
    summed: int = 0

    @property
    def weights(self) -> int:
        """Numbers in the weights."""
        in_blocks = 2 * self.dim * (self.dim + self.memory_dim + self.mlp_dim) + 9 * self.dim + self.mlp_dim
        of_sum = self.summed + 2 * self.memory_dim if self.summed else 0
        return self.layers * (in_blocks + of_sum)

    @property
    def kept(self) -> int:
        """Numbers that one block keeps for its gradient, for an image: as `Blocks`, keys and values of the memory."""
        of_query = 12 * self.dim + 3 * self.mlp_dim + 2 * self.heads * self.memory
        return self.tokens * of_query + self.memory * 4 * self.dim

    @property
    def kept_of_sums(self) -> int:
        """Numbers kept beside the blocks: the layers, each block's sum of them, and that normalised."""
        return (self.summed + 2 * self.layers if self.summed else 0) * self.memory * self.memory_dim

    @property
    def products(self) -> int:
        """Multiplications of the forward pass of all blocks, for an image."""
        of_query = 2 * self.dim * (self.dim + self.mlp_dim) + 2 * self.memory * self.dim
        of_memory = 2 * self.memory_dim * self.dim + self.summed * self.memory_dim
        return self.layers * (self.tokens * of_query + self.memory * of_memory)


class StepSize(NamedTuple):
    """What a step has to hold and to do.

    Attributes:
        weights: numbers in all weights.
        trainable: numbers in those that are trained.
        kept: numbers kept for the gradient, for an image.
        operations: multiplications and additions of the products of a step, for an image.
    """

    weights: int
    trainable: int
    kept: int
    operations: int

    def memory(self, images: float, bytes_each: int) -> int:
        """Bytes: weights, gradients and AdamW's two moments in float32, and what is kept of so many images."""
        return 4 * self.weights + 12 * self.trainable + math.ceil(images) * self.kept * bytes_each


def bytes_each(dtype_policy: str) -> int:
    """Bytes of a number that is kept; for `auto` those of float32, the most that it may be."""
    return 2 if dtype_policy in ("mixed_bfloat16", "mixed_float16") else 4


class Counted(NamedTuple):
    """A pretraining step's model.

    Attributes:
        parts: its blocks, encoder first.
        weights, trainable: see `StepSize`.
        predicted: numbers that are predicted of an image.
        ends: multiplications of the forward pass beside the blocks, for an image.
    """

    parts: list[Blocks | CrossBlocks]
    weights: int
    trainable: int
    predicted: int
    ends: int


def step_size(config: PretrainConfig, attention: bool = True) -> StepSize | None:
    """The size of a step; None if encoder or decoder is not a transformer of this package.

    `attention` is whether blocks keep its logits and weights; else they compute them again.
    """
    model = count(config)
    if model is None:
        return None
    again = config.run.rematerialize
    parts = model.parts if attention else [part._replace(heads=0) for part in model.parts]
    kept = sum(p.layers * p.tokens * p.dim + p.kept if again else p.layers * p.kept for p in parts)
    kept += sum(p.kept_of_sums for p in model.parts)
    products = sum(p.products for p in model.parts) * (PASSES + 1 if again else PASSES)
    products += model.ends * PASSES
    return StepSize(model.weights, model.trainable, kept, 2 * products)


def count(config: PretrainConfig) -> Counted | None:
    """A step's model, counted; None if encoder or decoder is not a transformer of this package."""
    vit, decoder = config.encoder, config.decoder
    if not isinstance(vit, ViT) or not isinstance(decoder, Transformer | Cross | None):
        return None
    encoder, pixels = encoder_blocks(encoder_arguments(vit.preset, vit.arguments()))
    prefix = vit.num_cls_tokens + vit.num_registers
    patches = seen = predicted = encoder.tokens - prefix
    of_positions = {"learned": 0, "sincos": 0, None: 0}
    of_positions[vit.position_embedding] += encoder.tokens * encoder.dim
    trainable = encoder.weights + (pixels + 3 + prefix) * encoder.dim
    parts: list[Blocks | CrossBlocks] = [encoder]
    if decoder is None:
        trainable += encoder.dim * pixels
        ends = encoder.dim * pixels * patches
    else:
        of_positions[vit.position_embedding or "sincos"] += encoder.tokens * decoder.hidden_dim
        visible, predicted = _visible_and_predicted(config, patches)
        if isinstance(config.method, MAE) and not config.method.mask_tokens_in_encoder:
            seen = visible
            encoder = encoder._replace(tokens=seen + prefix)
        behind = _behind(decoder, encoder, predicted, min(seen + predicted, patches) + prefix)
        parts = [encoder, behind]
        trainable += behind.weights + (pixels + 3) * behind.dim + pixels
        ends = pixels * behind.dim * predicted
        if isinstance(behind, Blocks):
            trainable += (encoder.dim + 1) * behind.dim
            ends += encoder.dim * behind.dim * encoder.tokens
    trainable += of_positions["learned"]
    weights = trainable + of_positions["sincos"] + 2 * vit.channels
    return Counted(parts, weights, trainable, pixels * predicted, ends + pixels * encoder.dim * seen)


def _visible_and_predicted(config: PretrainConfig, patches: int) -> tuple[int, int]:
    """The numbers of patches of an image that stay visible, and that a step predicts."""
    visible = max(int(patches * (1 - getattr(config.masking, "mask_ratio", 0.0))), 1)
    masked = patches - visible
    if not isinstance(config.method, MAE):
        return visible, masked
    if config.method.visible_weight:
        return visible, patches
    return visible, max(1, round(config.method.predict_ratio * masked)) if masked else 0


def _behind(decoder: Transformer | Cross, encoder: Blocks, predicted: int, tokens: int) -> Blocks | CrossBlocks:
    """The decoder's blocks: a plain one sees `tokens`, one of cross-attention those of the encoder."""
    sizes = (decoder.num_layers, decoder.hidden_dim, 4 * decoder.hidden_dim, decoder.num_heads)
    if isinstance(decoder, Cross):
        return CrossBlocks(*sizes, predicted, encoder.tokens, encoder.dim, len(decoder.encoder_layers or ()))
    return Blocks(*sizes, tokens)


def encoder_blocks(arguments: dict[str, Any]) -> tuple[Blocks, int]:
    """An encoder's blocks, and the number of values in a patch."""
    height, width, channels = arguments["image_shape"]
    size = arguments["patch_size"]
    rows, columns = (size, size) if isinstance(size, int) else size
    prefix = arguments.get("num_cls_tokens", 1) + arguments.get("num_registers", 0)
    dim = arguments["hidden_dim"]
    blocks = Blocks(
        arguments["num_layers"],
        dim,
        arguments.get("mlp_dim") or 4 * dim,
        arguments["num_heads"],
        (height // rows) * (width // columns) + prefix,
        gated=arguments.get("gated_mlp", False),
        has_rotation=arguments.get("rotary_temperature") is not None,
        has_qk_norm=arguments.get("qk_norm", False),
        has_gains=arguments.get("layer_scale") is not None,
    )
    return blocks, rows * columns * channels
