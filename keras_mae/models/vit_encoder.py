"""The Vision Transformer encoder: the product of pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed, Purpose
from keras_mae.layers import (
    Checkpointed,
    LayerNorm,
    Patchify,
    PixelNormalization,
    PositionEmbedding,
    RelativePositionBias,
    TransformerBlock,
)
from keras_mae.layers.patches import check_sizes, patch_grid
from keras_mae.layers.pixel_normalization import IMAGENET_MEAN, IMAGENET_STD
from keras_mae.layers.pixel_range import with_shape
from keras_mae.models.encoder_changes import with_image_shape, with_relative_position_bias
from keras_mae.models.freezing import freeze_inside, freeze_parts, frozen_parts
from keras_mae.models.presets import encoder_arguments, fill_from_checkpoint
from keras_mae.training import ImageModel

RELATIVE = (None, "shared", "per_block")


@keras.saving.register_keras_serializable(package="keras_mae")
class ViTEncoder(ImageModel):
    """A Vision Transformer that turns images into one token for the image and one for each patch.

    Pixels are normalised inside, so what it takes is what a file holds: values in [0, 255]. Called as a model it is
    deterministic and sees every patch; `encode` is the one entry that hides some of them.

    Args:
        image_shape: `(H, W, C)` in pixels; `H` and `W` divisible by the patch size.
        patch_size: int, or a pair (height, width), in pixels.
        hidden_dim: width `D` of the tokens.
        num_layers: number of transformer blocks.
        num_heads: attention heads; must divide `hidden_dim`.
        mlp_dim: width of the blocks' MLPs; None for `4 * hidden_dim`.
        drop_path_rate: drop path of the last block; it grows linearly from 0 at the first.
        use_cls_token: whether a class token is prepended. Without it, `cls_token` in the output is the mean of the
            patch tokens.
        position_embedding: `"sincos"` (fixed), `"learned"`, or None for no absolute positions.
        position_temperature: of the sin-cos table; 10,000 in the papers, a small one suits a grid of a few patches.
        relative_position_bias: None, or a learned bias of the attention for each offset between patches: `"shared"` by
            all blocks, or `"per_block"`.
        layer_scale: None, or what the learned gains of the residual branches start from, see `LayerScale`.
        layer_norm_epsilon: epsilon of every LayerNorm.
        mean, std: normalisation of the pixels, one number a channel in units of 255 levels. None: ImageNet's for
            three channels, 0.5 otherwise.

    Call arguments:
        inputs: images `(B, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].
        training: whether drop path is active.

    Returns:
        `{"cls_token": (B, D), "patch_tokens": (B, L, D)}` in the compute dtype, after the final LayerNorm.

    Raises:
        ValueError: if the sizes do not divide, or the images have another shape than `image_shape`.

    Example:

    >>> encoder = ViTEncoder(image_shape=(224, 224, 3), patch_size=16, hidden_dim=192, num_layers=12, num_heads=3)
    >>> encoder(np.zeros((2, 224, 224, 3), "uint8"))["patch_tokens"].shape
    TensorShape([2, 196, 192])

    Reference: arXiv 2010.11929; arXiv 2111.06377, appendix A.1.
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
        use_cls_token: bool = True,
        position_embedding: str | None = "sincos",
        position_temperature: float = 10000.0,
        relative_position_bias: str | None = None,
        layer_scale: float | None = None,
        layer_norm_epsilon: float = 1e-6,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        name: str = "vit_encoder",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, autocast=False, **kwargs)
        if len(image_shape) != 3:
            raise ValueError(f"image_shape is (height, width, channels), got {image_shape!r}")
        self.image_shape = (image_shape[0], image_shape[1], image_shape[2])
        check_sizes(channels=image_shape[2], hidden_dim=hidden_dim, num_layers=num_layers, num_heads=num_heads)
        check_sizes(mlp_dim=1 if mlp_dim is None else mlp_dim)
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"a drop path rate lies in [0, 1), got {drop_path_rate!r}")
        if not (position_temperature > 0 and layer_norm_epsilon > 0):
            raise ValueError(
                "position_temperature and layer_norm_epsilon are above 0, got "
                f"{position_temperature!r} and {layer_norm_epsilon!r}"
            )
        self.grid = patch_grid(self.image_shape, patch_size)
        self.hidden_dim, self.num_layers, self.num_heads = hidden_dim, num_layers, num_heads
        self.mlp_dim = 4 * hidden_dim if mlp_dim is None else mlp_dim
        self.drop_path_rate, self.layer_norm_epsilon = drop_path_rate, layer_norm_epsilon
        self.use_cls_token = use_cls_token
        self.position_embedding, self.position_temperature = position_embedding, position_temperature
        if relative_position_bias not in RELATIVE:
            raise ValueError(
                f"relative_position_bias is one of {', '.join(map(repr, RELATIVE))}; got {relative_position_bias!r}"
            )
        self.relative_position_bias, self.layer_scale = relative_position_bias, layer_scale
        self.num_prefix_tokens = int(use_cls_token)
        channels = self.image_shape[-1]
        mean, std = (
            given if given is not None else imagenet if channels == 3 else (0.5,) * channels
            for given, imagenet in ((mean, IMAGENET_MEAN), (std, IMAGENET_STD))
        )
        if len(mean) != channels:
            raise ValueError(f"mean and std hold one number a channel: got {len(mean)} for {channels} channels")

        policy = {"dtype": self.dtype_policy}
        self.patchify = Patchify(patch_size, name="patchify")
        self.normalize_pixels = PixelNormalization(mean, std, name="normalize_pixels")
        self.patch_projection = keras.layers.Dense(hidden_dim, name="patch_projection", **policy)
        self.positions = PositionEmbedding(
            self.grid, self.num_prefix_tokens, position_embedding, position_temperature, name="positions", **policy
        )
        self.relative_positions = [
            RelativePositionBias(
                self.grid, num_heads, self.num_prefix_tokens, name=f"relative_positions_{index}", **policy
            )
            for index in range({None: 0, "shared": 1, "per_block": num_layers}[relative_position_bias])
        ]
        self.blocks = [
            TransformerBlock(
                hidden_dim,
                num_heads,
                self.mlp_dim,
                drop_path_rate=drop_path_rate * index / max(num_layers - 1, 1),
                layer_norm_epsilon=layer_norm_epsilon,
                layer_scale=layer_scale,
                name=f"block_{index}",
                **policy,
            )
            for index in range(num_layers)
        ]
        self.norm = LayerNorm(epsilon=layer_norm_epsilon, name="norm", **policy)
        self._checkpointed = Checkpointed([*self.relative_positions, *self.blocks])
        self.build((None, *self.image_shape))
        freeze_inside(self)

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return self.patchify.patch_size

    @property
    def num_patches(self) -> int:
        """`L`, the number of patches of an image."""
        return self.grid[0] * self.grid[1]

    @classmethod
    def from_preset(
        cls,
        name: str,
        checkpoint: str | None = None,
        format: str | None = None,
        skip: Sequence[str] = (),
        resize_positions: bool | tuple[int, int] = False,
        prefix: str | None = None,
        **overrides: Any,
    ) -> ViTEncoder:
        """The encoder `vit_{tiny,small,base,large}_patch16` or `vit_huge_patch14`, or that of a `SimMIM` preset.

        Args:
            name: the preset.
            checkpoint: None for fresh weights, or the path or URL of a file to fill it with.
            format, skip, resize_positions, prefix: of the checkpoint, as in `keras_mae.load_checkpoint`.
            **overrides: constructor arguments that replace the preset's, such as `image_shape`.
        """
        encoder = cls(**encoder_arguments(name, overrides))
        fill_from_checkpoint(encoder, checkpoint, format, skip, resize_positions, prefix)
        return encoder

    def build(self, input_shape) -> None:
        if getattr(self, "built", False):
            return
        height, width = self.patch_size
        patches = (None, self.num_patches, height * width * self.image_shape[-1])
        self.patchify.build((None, *self.image_shape))
        self.normalize_pixels.build(patches)
        self.patch_projection.build(patches)
        self.positions.build((None, self.num_patches, self.hidden_dim))
        tokens = (None, self.num_prefix_tokens + self.num_patches, self.hidden_dim)
        if self.use_cls_token:
            self.cls_token = self.add_weight(
                shape=(1, 1, self.hidden_dim),
                initializer=keras.initializers.RandomNormal(stddev=0.02),
                name="cls_token",
            )
        for bias in self.relative_positions:
            bias.build(tokens)
        for block in self.blocks:
            block.build(tokens)
        self.norm.build(tokens)
        self.built = True

    def encode(
        self, images, ids_keep=None, mask=None, mask_token=None, training=False, seed: ExampleSeed | None = None
    ) -> dict[str, tf.Tensor]:
        """Encodes images of which some patches are dropped (MAE) or replaced by a token (SimMIM).

        Args:
            images: `(B, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].
            ids_keep: None, or int `(B, K)`: only these patches enter, in this order.
            mask: None, or `(B, L)`, 1 = this patch's embedding is replaced by `mask_token`.
            mask_token: the token that the pretraining model owns, broadcastable to `(B, L, D)`.
            training: whether drop path is active.
            seed: None or an `ExampleSeed` for drop path.

        Returns:
            `{"cls_token": (B, D), "patch_tokens": (B, K or L, D)}`.

        Raises:
            ValueError: if both `ids_keep` and `mask` are given, `mask` comes without `mask_token`, or the images
                have the wrong shape.
        """
        tokens = self.norm(self.tokens(images, ids_keep, mask, mask_token, training, seed))
        return self.split(tokens)

    def tokens(
        self,
        images,
        ids_keep=None,
        mask=None,
        mask_token=None,
        training=False,
        seed: ExampleSeed | None = None,
        num_blocks: int | None = None,
    ) -> tf.Tensor:
        """The forward pass before the final LayerNorm: prefix and patch tokens in one sequence, `(B, P + N, D)`.

        The arguments are those of `encode`, and `num_blocks`: stop after so many blocks; None for all.
        """
        if ids_keep is not None and mask is not None:
            raise ValueError("encode takes ids_keep (patches to keep) or mask (patches to replace), not both")
        if (mask is None) != (mask_token is None):
            raise ValueError("mask and mask_token go together: the pretraining model owns the token and passes it")
        images = with_shape(images, self.image_shape)
        if num_blocks is not None and not 0 <= num_blocks <= self.num_layers:
            raise ValueError(f"the encoder has {self.num_layers} blocks, and {num_blocks} were asked for")

        patches = self.patchify(images)  # (B, L, ph * pw * C), as they came
        if ids_keep is not None:
            patches = tf.gather(patches, ids_keep, batch_dims=1)  # (B, K, ph * pw * C)
        x = self.normalize_pixels(patches)
        x = self.patch_projection(tf.cast(x, self.compute_dtype))  # (B, N, D)
        if mask is not None:
            mask = tf.cast(mask, x.dtype)[..., None]
            x = x * (1 - mask) + tf.cast(mask_token, x.dtype) * mask
        x = self.positions(x, ids=ids_keep)
        if self.use_cls_token:
            prefix = tf.cast(self.cls_token, x.dtype) + tf.cast(self.positions.prefix(), x.dtype)  # (1, 1, D)
            x = tf.concat([tf.repeat(prefix, tf.shape(x)[0], axis=0), x], axis=1)  # (B, 1 + N, D)
        biases = [layer(ids=ids_keep) for layer in self.relative_positions] or [None]  # each (heads, N, N), or (B, ...)
        for index, block in enumerate(self.blocks[:num_blocks]):
            block_seed = None if seed is None else seed.fold_in(Purpose.DROP_PATH).fold_in(index)
            x = block(x, bias=biases[index % len(biases)], training=training, seed=block_seed)
        return x

    def features(
        self, images, pooling: str = "mean", block: int | None = None, training=False, seed: ExampleSeed | None = None
    ) -> tf.Tensor:
        """One vector an image, `(B, D)`, for probes and neighbours.

        Args:
            images: `(B, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].
            pooling: `"mean"` of the patch tokens, or `"cls"`, the class token.
            block: None for the output, or from which block on, counted from 1, tokens are taken as they leave it: the
                final norm belongs to the last one. SimMIM's linear probe takes the 8th of 12.
            training, seed: as for `encode`.
        """
        tokens = self.tokens(images, training=training, seed=seed, num_blocks=block)
        outputs = self.split(self.norm(tokens) if block is None else tokens)
        return outputs["cls_token"] if pooling == "cls" else tf.reduce_mean(outputs["patch_tokens"], axis=1)

    def split(self, tokens) -> dict[str, tf.Tensor]:
        """One sequence `(B, P + N, D)` as the two outputs."""
        patch_tokens = tokens[:, self.num_prefix_tokens :]
        cls_token = tokens[:, 0] if self.use_cls_token else tf.reduce_mean(patch_tokens, axis=1)
        return {"cls_token": cls_token, "patch_tokens": patch_tokens}

    def example_shapes(self) -> list[tuple[int, ...]]:
        return [self.image_shape]

    def compute_output_shape(self, input_shape) -> dict[str, tuple]:
        batch = input_shape[0]
        return {
            "cls_token": (batch, self.hidden_dim),
            "patch_tokens": (batch, self.num_patches, self.hidden_dim),
        }

    def call(self, inputs, training=False):
        return self.encode(inputs, training=training)

    def with_image_shape(self, image_shape: tuple[int, int, int]) -> ViTEncoder:
        """A new encoder for images of another size, with these weights.

        Learned position embeddings and tables of relative positions are resized (bicubic); a sin-cos table is computed
        anew for the other grid.

        Args:
            image_shape: `(H, W, C)`; `C` must be the same.
        """
        return with_image_shape(self, image_shape)

    def with_relative_position_bias(self, kind: str) -> ViTEncoder:
        """A new encoder with another kind of relative-position bias that computes the same.

        SimMIM pretrains one table for all blocks, and fine-tunes one for each, which starts as a copy of it.

        Args:
            kind: `"per_block"`, from a bias that is shared (or from none: the tables are then zeros).

        Raises:
            ValueError: if the kind cannot say what the present one does.
        """
        return with_relative_position_bias(self, kind)

    def layer_groups(self) -> list[list[keras.Variable]]:
        """The trainable variables by depth: the stem, each block, the final norm. Each exactly once.

        A bias that all blocks share goes with the last of them, as in SimMIM's code.
        """
        stem = [*self.patch_projection.weights, *self.positions.weights]
        if self.use_cls_token:
            stem.append(self.cls_token)
        blocks, last = [list(block.weights) for block in self.blocks], list(self.norm.weights)
        for index, layer in enumerate(self.relative_positions):
            (last if self.relative_position_bias == "shared" else blocks[index]).extend(layer.weights)
        return [[variable for variable in group if variable.trainable] for group in (stem, *blocks, last)]

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables that are not decayed: biases, norms, the class token, position embeddings.

        Tables of relative positions are decayed, as in SimMIM's code.
        """
        tokens = self.positions.weights + ([self.cls_token] if self.use_cls_token else [])
        named = {id(variable) for variable in tokens}
        return [v for v in self.weights if v.trainable and (len(v.shape) <= 1 or id(v) in named)]

    def get_config(self) -> dict[str, Any]:
        own = {
            "image_shape": self.image_shape,
            "patch_size": self.patch_size,
            "hidden_dim": self.hidden_dim,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "drop_path_rate": self.drop_path_rate,
            "use_cls_token": self.use_cls_token,
            "position_embedding": self.position_embedding,
            "position_temperature": self.position_temperature,
            "relative_position_bias": self.relative_position_bias,
            "layer_scale": self.layer_scale,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "mean": self.normalize_pixels.mean,
            "std": self.normalize_pixels.std,
        }
        own |= frozen_parts(self)
        return {"name": self.name, "trainable": self.trainable, "dtype": self.dtype_policy, **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ViTEncoder:
        config = dict(config)
        frozen = config.pop("frozen", None)
        encoder = cls(**config)
        freeze_parts(encoder, frozen)
        return encoder
