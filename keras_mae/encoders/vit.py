"""The Vision Transformer encoder: the product of pretraining."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_mae.encoders import attention_maps, changes
from keras_mae.encoders.encoder import Encoder, Tokens
from keras_mae.encoders.freezing import outside_of_last_blocks
from keras_mae.encoders.prefix import prefix_sizes
from keras_mae.encoders.presets import encoder_arguments, of_this_version
from keras_mae.example_seed import ExampleSeed, Purpose
from keras_mae.layers import LayerNorm, Patchify, PositionEmbedding
from keras_mae.layers.dense import Dense
from keras_mae.layers.kernels import with_kernel
from keras_mae.layers.patches import check_sizes, take_patches
from keras_mae.layers.pixel_range import with_shape
from keras_mae.layers.relative_position_bias import relative_positions
from keras_mae.layers.rotary_positions import RotaryPositions
from keras_mae.layers.slots import Offsets, PatchKernel, Slot, Table, block_slots, dense_slots, norm_slots
from keras_mae.layers.transformer_block import transformer_blocks

_OWN = (
    *("patch_size", "hidden_dim", "num_layers", "num_heads", "mlp_dim", "drop_path_rate", "num_cls_tokens"),
    *("position_embedding", "position_temperature", "relative_position_bias", "layer_scale", "layer_norm_epsilon"),
    *("num_registers", "num_prefix_positions", "rotary_temperature", "qkv_bias", "key_bias", "qk_norm"),
    *("gated_mlp", "pre_norm"),
)
_OF_BLOCKS = ("layer_norm_epsilon", "layer_scale", "qkv_bias", "key_bias", "qk_norm", "gated_mlp")


@keras.saving.register_keras_serializable(package="keras_mae")
class ViTEncoder(Encoder):
    """A Vision Transformer that turns images into one token for the image and one for each patch.

    The defaults are the ViT of MAE; the other arguments make those of other papers: DINOv2 (LayerScale, registers,
    SwiGLU), DINOv3 (rotary positions, no bias of the keys), Pixio (eight class tokens), CLIP (a norm before the
    blocks). The sequence is class tokens, registers, patches.

    Args:
        image_shape, patch_size, hidden_dim, mean, std: see `Encoder`.
        num_layers: number of transformer blocks.
        num_heads: attention heads; must divide `hidden_dim`.
        mlp_dim: width of the blocks' MLPs, of gated ones after the gate; None for `4 * hidden_dim`.
        drop_path_rate: drop path rate of the last block; it grows linearly from 0 at the first.
        num_cls_tokens: number of class tokens; 0 for none.
        position_embedding: `"sincos"` (fixed), `"learned"`, or None for no absolute positions.
        position_temperature: of the sin-cos table; 10,000 in the papers, a small one suits a grid of a few patches.
        relative_position_bias: None, or a learned bias of the attention for each offset between patches: `"shared"` by
            all blocks, or `"per_block"`.
        layer_scale: None, or the initial value of the learned gains of the residual branches, see `LayerScale`.
        layer_norm_epsilon: epsilon of every LayerNorm.
        num_registers: number of register tokens, which take part in attention and belong to no output.
        num_prefix_positions: for how many of the prefix tokens the table of absolute positions has a row: 0, all class
            tokens, or all of them and the registers. None for the class tokens.
        rotary_temperature: None, or the temperature of rotary positions (100 in DINOv3), see `rotary_angles`. They
            come in addition to absolute positions, if there are any.
        qkv_bias, key_bias, qk_norm: see `SelfAttention`.
        gated_mlp: whether the MLPs are gated (SwiGLU), see `TransformerBlock`.
        pre_norm: whether a LayerNorm comes before the first block; the patch projection then has no bias, as in CLIP.

    Call arguments, returns and errors are those of `Encoder`.

    Example:

    >>> encoder = ViTEncoder(image_shape=(224, 224, 3), patch_size=16, hidden_dim=192, num_layers=12, num_heads=3)
    >>> encoder(np.zeros((2, 224, 224, 3), "uint8"))["patch_tokens"].shape
    TensorShape([2, 196, 192])

    Reference: arXiv 2010.11929; arXiv 2111.06377, appendix A.1; arXiv 2309.16588 (registers); arXiv 2508.10104
    (DINOv3); arXiv 2512.15715 (Pixio).
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        patch_size: int | tuple[int, int] = 16,
        hidden_dim: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_dim: int | None = None,
        drop_path_rate: float = 0.0,
        num_cls_tokens: int = 1,
        position_embedding: str | None = "sincos",
        position_temperature: float = 10000.0,
        relative_position_bias: str | None = None,
        layer_scale: float | None = None,
        layer_norm_epsilon: float = 1e-6,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        num_registers: int = 0,
        num_prefix_positions: int | None = None,
        rotary_temperature: float | None = None,
        qkv_bias: bool = True,
        key_bias: bool = True,
        qk_norm: bool = False,
        gated_mlp: bool = False,
        pre_norm: bool = False,
        name: str = "vit_encoder",
        **kwargs: Any,
    ) -> None:
        num_prefix_tokens, of_prefix = prefix_sizes(num_cls_tokens, num_registers, num_prefix_positions)
        super().__init__(image_shape, patch_size, hidden_dim, num_prefix_tokens, mean, std, name=name, **kwargs)
        mlp_dim = 4 * hidden_dim if mlp_dim is None else mlp_dim
        check_sizes(num_layers=num_layers, num_heads=num_heads, mlp_dim=mlp_dim)
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"a drop path rate lies in [0, 1), got {drop_path_rate!r}")
        self.num_heads, self.mlp_dim, self.drop_path_rate = num_heads, mlp_dim, drop_path_rate
        self.num_cls_tokens, self.num_registers, self.num_prefix_positions = num_cls_tokens, num_registers, of_prefix
        self.layer_scale, self.layer_norm_epsilon = layer_scale, layer_norm_epsilon
        self.position_embedding, self.position_temperature = position_embedding, position_temperature
        self.relative_position_bias, self.rotary_temperature = relative_position_bias, rotary_temperature
        self.qkv_bias, self.key_bias, self.qk_norm = qkv_bias, key_bias, qk_norm
        self.gated_mlp, self.pre_norm = gated_mlp, pre_norm

        policy = {"dtype": self.dtype_policy}
        self.patchify = Patchify(patch_size, name="patchify")
        self.patch_projection = Dense(hidden_dim, use_bias=not pre_norm, name="patch_projection", **policy)
        self.positions = PositionEmbedding(
            self.grid, of_prefix, position_embedding, position_temperature, name="positions", **policy
        )
        self.relative_positions = relative_positions(
            relative_position_bias, num_layers, self.grid, num_heads, self.num_prefix_tokens, self.dtype_policy
        )
        if pre_norm:
            self.norm_pre = LayerNorm(epsilon=layer_norm_epsilon, name="norm_pre", **policy)
        own = {name: getattr(self, name) for name in _OF_BLOCKS} | policy
        self.blocks = transformer_blocks(num_layers, hidden_dim, num_heads, mlp_dim, drop_path_rate, **own)
        if rotary_temperature is not None:
            head_dim = hidden_dim // num_heads
            self.rotary_positions = RotaryPositions(self.grid, head_dim, rotary_temperature, num_prefix_tokens)
        self.norm = LayerNorm(epsilon=layer_norm_epsilon, name="norm", **policy)
        self.build((None, *self.image_shape))

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> ViTEncoder:
        """The encoder of a preset.

        The names are `vit_{tiny,small,base,large}_patch16`, `vit_huge_patch14`, those of `SimMIM` and
        `pixio_vit_{base,large,huge}_patch16`. The weights are random; `keras_mae.load_checkpoint` fills them.
        `overrides` are constructor arguments that replace the preset's, such as `image_shape`.
        """
        return cls(**encoder_arguments(name, overrides))

    def build(self, input_shape) -> None:
        if self.built:
            return
        patches = (None, self.num_patches, self.geometry.values_per_patch)
        self.patchify.build((None, *self.image_shape))
        self.normalize_pixels.build(patches)
        self.patch_projection.build(patches)
        self.positions.build((None, self.num_patches, self.hidden_dim))
        for name, count in (("cls_token", self.num_cls_tokens), ("registers", self.num_registers)):
            if count:
                normal = keras.initializers.RandomNormal(stddev=0.02)
                setattr(self, name, self.add_weight((1, count, self.hidden_dim), initializer=normal, name=name))
        tokens = (None, self.num_prefix_tokens + self.num_patches, self.hidden_dim)
        before = [self.norm_pre] if self.pre_norm else []
        layers: list[keras.layers.Layer] = [*self.relative_positions, *before, *self.blocks, self.norm]
        for layer in layers:
            layer.build(tokens)
        self._finish()

    @property
    def num_layers(self) -> int:
        """The number of transformer blocks."""
        return len(self.blocks)

    @with_kernel("encode")
    def encode(
        self, images, ids_keep=None, mask=None, mask_token=None, training=False, seed: ExampleSeed | None = None
    ) -> Tokens:
        x = self._stem(images, ids_keep, mask, mask_token)
        for x in self._blocks(x, ids_keep, training, seed):
            pass
        return self._split(self.norm(x))

    def _stem(self, images, ids_keep=None, mask=None, mask_token=None) -> tf.Tensor:
        """The input of the first block: prefix and patch tokens with their positions, `(B, P + N, D)`."""
        if ids_keep is not None and mask is not None:
            raise ValueError("encode takes ids_keep (patches to keep) or mask (patches to replace), not both")
        if (mask is None) != (mask_token is None):
            raise ValueError("mask and mask_token go together: the pretraining model owns the token and passes it")
        patches = self.patchify(with_shape(images, self.image_shape))  # (B, L, ph * pw * C), in the images' dtype
        if ids_keep is not None:
            patches = take_patches(patches, ids_keep)  # (B, K, ph * pw * C)
        x = self.normalize_pixels(patches)
        x = self.patch_projection(tf.cast(x, self.compute_dtype))  # (B, N, D)
        if mask is not None:
            mask = tf.cast(mask, x.dtype)[..., None]
            x = x * (1 - mask) + tf.cast(mask_token, x.dtype) * mask
        x = self.positions(x, ids=ids_keep)
        if self.num_prefix_tokens:
            x = tf.concat([tf.repeat(self._prefix(x.dtype), tf.shape(x)[0], axis=0), x], axis=1)  # (B, P + N, D)
        return self.norm_pre(x) if self.pre_norm else x

    def _prefix(self, dtype) -> tf.Tensor:
        """The prefix tokens with their positions, `(1, P, D)`."""
        tokens = [tf.cast(token, dtype) for token in self._prefix_weights()]
        tokens = tokens[0] if len(tokens) == 1 else tf.concat(tokens, axis=1)
        if self.position_embedding is None or not self.num_prefix_positions:
            return tokens
        without = self.num_prefix_tokens - self.num_prefix_positions
        positions = tf.cast(self.positions.prefix(), dtype)
        return tokens + (tf.pad(positions, [[0, without], [0, 0]]) if without else positions)

    def _prefix_weights(self) -> list[keras.Variable]:
        own = (("cls_token", self.num_cls_tokens), ("registers", self.num_registers))
        return [getattr(self, name) for name, count in own if count]

    def _blocks(self, x, ids_keep=None, training=False, seed: ExampleSeed | None = None) -> Iterator[tf.Tensor]:
        """The output of each block, one after the other."""
        biases = [layer(ids=ids_keep) for layer in self.relative_positions] or [None]  # each (heads, N, N), or (B, ...)
        rotation = None if self.rotary_temperature is None else self.rotary_positions(ids_keep)
        for index, block in enumerate(self.blocks):
            block_seed = None if seed is None else seed.fold_in(Purpose.DROP_PATH).fold_in(index)
            bias = biases[index % len(biases)]
            x = block(x, bias=bias, training=training, seed=block_seed, rotation=rotation)
            yield x

    def _split(self, x) -> Tokens:
        count, length = self.num_prefix_tokens, x.shape[1]
        if not count:
            return Tokens(x[:, :0], x)
        return Tokens(*tf.split(x, [count, -1 if length is None else length - count], axis=1))

    def tokens_of_layer(self, images, layer: int, training=False, seed: ExampleSeed | None = None) -> Tokens:
        return self._split(*self._leaving([layer], images, training, seed))

    def intermediates(
        self, images, layers: Sequence[int], training=False, seed: ExampleSeed | None = None
    ) -> list[tf.Tensor]:
        leaving = self._leaving(layers, images, training, seed)
        return [tf.reshape(self._split(x).patches, [-1, *self.grid, self.hidden_dim]) for x in leaving]

    def encode_layers(
        self,
        images,
        layers: Sequence[int],
        ids_keep=None,
        mask=None,
        mask_token=None,
        training=False,
        seed: ExampleSeed | None = None,
    ) -> list[Tokens]:
        masked = {"ids_keep": ids_keep, "mask": mask, "mask_token": mask_token}
        return [self._split(x) for x in self._leaving(layers, images, training, seed, **masked)]

    def _leaving(
        self, layers: Sequence[int], images, training, seed: ExampleSeed | None, ids_keep=None, **masked
    ) -> list[tf.Tensor]:
        """The outputs of these layers; the layers after the last of them are not computed."""
        if list(layers) != sorted(set(layers)) or not layers or not 1 <= layers[0] <= layers[-1] <= self.num_layers:
            raise ValueError(
                f"layers are counted from 1 to {self.num_layers}, and come in rising order; got {list(layers)}"
            )
        leaving = self._blocks(self._stem(images, ids_keep, **masked), ids_keep, training, seed)
        return [x for layer, x in zip(range(1, layers[-1] + 1), leaving) if layer in layers]

    def features_for_fine_tuning(self, images, training=False, seed: ExampleSeed | None = None) -> tf.Tensor:
        tokens = self.tokens_of_layer(images, self.num_layers, training, seed)
        return self.norm(tf.reduce_mean(tokens.patches, axis=1, keepdims=True))[:, 0]  # the rank it was built for

    def reset_final_norm(self) -> None:
        self.norm.gamma.assign(tf.ones_like(self.norm.gamma))
        self.norm.beta.assign(tf.zeros_like(self.norm.beta))

    class_token_attention = attention_maps.class_token_attention
    with_image_shape = changes.with_image_shape
    with_relative_position_bias = changes.with_relative_position_bias
    outside_of_last_layers = outside_of_last_blocks

    def layer_groups(self) -> list[list[keras.Variable]]:
        """As `Encoder.layer_groups`; a bias that all blocks share is in the norm's group, as in SimMIM's code."""
        stem = [*self.patch_projection.weights, *self.positions.weights, *self._prefix_weights()]
        stem += self.norm_pre.weights if self.pre_norm else []
        blocks, last = [list(block.weights) for block in self.blocks], list(self.norm.weights)
        for index, layer in enumerate(self.relative_positions):
            (last if self.relative_position_bias == "shared" else blocks[index]).extend(layer.weights)
        return [[variable for variable in group if variable.trainable] for group in (stem, *blocks, last)]

    def no_weight_decay(self) -> list[keras.Variable]:
        """Biases, norms, prefix tokens and positions; relative ones are decayed, as in SimMIM's code."""
        tokens = self.positions.weights + self._prefix_weights()
        return [*super().no_weight_decay(), *(variable for variable in tokens if variable.trainable)]

    def slots(self) -> Iterator[Slot]:
        for weight in self._prefix_weights():
            yield Slot(f"encoder.{weight.name}", "", weight)
        if self.position_embedding is not None:
            yield Slot("encoder.positions.table", "", self.positions.table, Table(self.positions))
        for index, layer in enumerate(self.relative_positions):
            yield Slot(f"encoder.relative_positions.{index}.table", "", layer.table, Offsets(layer))
        kernel, *bias = dense_slots("encoder.patch_projection", self.patch_projection)
        yield dataclasses.replace(kernel, layout=PatchKernel(self.patch_size, self.image_shape[-1]))
        yield from bias
        if self.pre_norm:
            yield from norm_slots("encoder.norm_pre", self.norm_pre)
        yield from block_slots("encoder.blocks", self.blocks)
        yield from norm_slots("encoder.norm", self.norm)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self, name) for name in _OWN}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ViTEncoder:
        return super().from_config(of_this_version(config))
