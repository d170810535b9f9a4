"""The base of all encoders: the interface that models, trainers, checkpoints and exports use."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import keras
import tensorflow as tf

from keras_mae.encoders.freezing import freeze_inside, frozen_parts, model_from_config
from keras_mae.encoders.pooling import pooling_of
from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import Checkpointed, PixelNormalization
from keras_mae.layers.geometry import Geometry
from keras_mae.layers.patches import check_sizes, patch_grid
from keras_mae.layers.pixel_normalization import IMAGENET_MEAN, IMAGENET_STD
from keras_mae.layers.slots import Slot
from keras_mae.layers.transformer_block import WithBlocks
from keras_mae.registry import with_article
from keras_mae.training import ImageModel

AnyEncoder = TypeVar("AnyEncoder", bound="Encoder")


class Tokens(NamedTuple):
    """The tokens of a batch of images.

    Attributes:
        prefix: `(B, P, D)`, the tokens that belong to no patch, class tokens first; P may be 0.
        patches: `(B, N, D)`, the tokens of the encoded patches, in the order of encoding.
    """

    prefix: tf.Tensor
    patches: tf.Tensor


class Encoder(WithBlocks, ImageModel):
    """Turns images into tokens: one for each patch, and some that belong to the whole image.

    It takes pixels in [0, 255], as files hold them, and normalises them inside. Called as a model it is deterministic
    and sees every patch; `encode` is the one entry that hides some of them.

    Subclasses end their constructor with `self.build((None, *self.image_shape))`, which makes all weights, and
    implement `encode`, `intermediates`, `layer_groups` and `no_weight_decay`; `get_config` adds their own arguments.

    Args:
        image_shape: `(H, W, C)` in pixels; `H` and `W` divisible by the patch size.
        patch_size: int, or a pair (height, width), in pixels.
        hidden_dim: width `D` of the tokens.
        num_prefix_tokens: number of tokens that belong to no patch, `P`.
        mean, std: normalisation of the pixels, one number a channel in units of 255 levels. None: ImageNet's for
            three channels, 0.5 otherwise.
        **kwargs: of `keras.Model`.

    Call arguments:
        inputs: images `(B, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].
        training: whether drop path is active.

    Returns:
        `{"cls_token": (B, D), "patch_tokens": (B, L, D)}` in the compute dtype, after the final norm. `cls_token` is
        the mean of several class tokens, or without any the mean of the patch tokens.

    Raises:
        ValueError: if the sizes do not divide, or the images have another shape than `image_shape`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        patch_size: int | tuple[int, int],
        hidden_dim: int,
        num_prefix_tokens: int = 0,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        if len(image_shape) != 3:
            raise ValueError(f"image_shape is (height, width, channels), got {image_shape!r}")
        channels = image_shape[2]
        check_sizes(channels=channels, hidden_dim=hidden_dim)
        self.image_shape = (image_shape[0], image_shape[1], channels)
        self.grid = patch_grid(self.image_shape, patch_size)
        self.hidden_dim, self.num_prefix_tokens = hidden_dim, num_prefix_tokens
        mean, std = (
            given if given is not None else imagenet if channels == 3 else (0.5,) * channels
            for given, imagenet in ((mean, IMAGENET_MEAN), (std, IMAGENET_STD))
        )
        if len(mean) != channels:
            raise ValueError(f"mean and std hold one number a channel: got {len(mean)} for {channels} channels")
        self.normalize_pixels = PixelNormalization(mean, std, name="normalize_pixels")

    @property
    def geometry(self) -> Geometry:
        """The sizes for decoder, target, loss and masking."""
        pixels = self.normalize_pixels
        return Geometry(self.image_shape, self.grid, self.hidden_dim, self.num_prefix_tokens, pixels.mean, pixels.std)

    # cached, so that a subclass may set them
    @functools.cached_property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return self.geometry.patch_size

    @functools.cached_property
    def num_patches(self) -> int:
        """`L`, the number of patches of an image."""
        return self.geometry.num_patches

    @functools.cached_property
    def num_cls_tokens(self) -> int:
        """How many of the prefix tokens are class tokens, which come first; here the first alone."""
        return min(1, self.num_prefix_tokens)

    @functools.cached_property
    def num_layers(self) -> int:
        """The number of layers between the stem and the final norm."""
        return len(self.layer_groups()) - 2

    def build(self, input_shape) -> None:
        """Makes the weights, by encoding an image of zeros."""
        if not self.built:
            self.encode(tf.zeros((1, *self.image_shape)))
            self._finish()

    def _finish(self) -> None:
        self.built = True
        self._checkpointed = Checkpointed(self)
        freeze_inside(self)

    def encode(
        self, images, ids_keep=None, mask=None, mask_token=None, training=False, seed: ExampleSeed | None = None
    ) -> Tokens:
        """Encodes images, and drops some patches (MAE) or replaces them by a token (SimMIM).

        Args:
            images: `(B, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].
            ids_keep: None, or int `(B, K)`: only these patches enter, in this order.
            mask: None, or `(B, L)`: `mask_token` replaces the embeddings of patches with 1.
            mask_token: the pretraining model's token, broadcastable to `(B, L, D)`.
            training: whether drop path is active.
            seed: None or an `ExampleSeed` for drop path.

        Returns:
            `Tokens`, after the final norm, of K or L patches.

        Raises:
            ValueError: if both `ids_keep` and `mask` are given, `mask` comes without `mask_token`, the images have the
                wrong shape, or this kind of encoder cannot drop patches.
        """
        raise NotImplementedError

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
        """The tokens after some layers, before the final norm, for decoders that take those of several layers.

        Args:
            images, ids_keep, mask, mask_token, training, seed: as for `encode`.
            layers: the layers, counted from 1, in rising order.

        Raises:
            ValueError: as `encode`; or if this kind of encoder does not give them, or has no such layers.
        """
        raise ValueError(
            f"{with_article(type(self).__name__)} does not give the tokens of its layers under a mask: take a decoder "
            "of its output alone, with encoder_layers=None"
        )

    def intermediates(
        self, images, layers: Sequence[int], training=False, seed: ExampleSeed | None = None
    ) -> list[tf.Tensor]:
        """The patch tokens after some layers, before the final norm, in one pass.

        Args:
            images: as for `encode`.
            layers: the layers, counted from 1, in rising order.
            training, seed: as for `encode`.

        Returns:
            For each layer `(B, rows, columns, D)`.
        """
        raise NotImplementedError

    def layer_groups(self) -> list[list[keras.Variable]]:
        """The trainable variables by depth: the stem, each layer, the final norm. Each exactly once."""
        raise NotImplementedError

    def slots(self) -> Iterator[Slot]:
        """Every weight with its name and layout in PyTorch's checkpoints; a ValueError if no format has the encoder."""
        raise ValueError(
            f"no published format has a place for {with_article(type(self).__name__)}: save it with model.save(...)"
        )

    def features(
        self,
        images,
        pooling: str | Callable[[Tokens], tf.Tensor] = "mean",
        layer: int | None = None,
        training=False,
        seed: ExampleSeed | None = None,
    ) -> tf.Tensor:
        """One vector an image, `(B, D)`, for probes and neighbours.

        Args:
            images: as for `encode`.
            pooling: `"mean"` of the patch tokens, `"cls"`, the class token (the mean of several), or `"both"`,
                `(B, 2 D)`; or a function of `Tokens`, such as a trained `AttentivePooling`.
            layer: None for the output after the final norm, or a layer, counted from 1, for its tokens before that
                norm. SimMIM's linear probe takes the 8th of 12.
            training, seed: as for `encode`.
        """
        if layer is None:
            return self.pool(self.encode(images, training=training, seed=seed), pooling)
        return self.pool(self.tokens_of_layer(images, layer, training, seed), pooling)

    def pool(self, tokens: Tokens, pooling: str | Callable[[Tokens], tf.Tensor]) -> tf.Tensor:
        """One vector an image, see `features`; prefix tokens that are no class tokens (registers) do not count."""
        if tokens.prefix.shape[1] > self.num_cls_tokens:
            tokens = tokens._replace(prefix=tokens.prefix[:, : self.num_cls_tokens])
        return pooling_of(pooling)(tokens)

    def tokens_of_layer(self, images, layer: int, training=False, seed: ExampleSeed | None = None) -> Tokens:
        """The tokens after a layer, counted from 1, before the final norm."""
        (patches,) = self.intermediates(images, [layer], training, seed)
        return Tokens(patches[:, 0, :0], tf.reshape(patches, [tf.shape(patches)[0], -1, patches.shape[-1]]))

    def features_for_fine_tuning(self, images, training=False, seed: ExampleSeed | None = None) -> tf.Tensor:
        """The mean of the patch tokens, `(B, D)`; encoders with a final norm apply it after pooling."""
        return self.features(images, "mean", training=training, seed=seed)

    def reset_final_norm(self) -> None:
        """Resets the final norm, if there is one, to its initial values, for a head that pools before it."""

    def with_image_shape(self: AnyEncoder, image_shape: tuple[int, int, int]) -> AnyEncoder:
        """A new encoder for images `(H, W, C)` of another size, with these weights; here a ValueError."""
        raise ValueError(f"a {type(self).__name__} takes images of {self.image_shape} only; got {image_shape}")

    def with_relative_position_bias(self: AnyEncoder, kind: str) -> AnyEncoder:
        """A new encoder with another kind of relative positions that computes the same; here a ValueError."""
        raise ValueError(f"a {type(self).__name__} has no relative positions: leave out relative_position_bias={kind}")

    def outside_of_last_layers(self, count: float | None) -> list[keras.Variable]:
        """The variables outside of the last `count` layers and the final norm.

        Args:
            count: None for no variables, 0 for all. Some encoders take halves of layers.

        Raises:
            ValueError: if there are fewer layers, or `count` is no number of layers.
        """
        if count is None:
            return []
        if not 0 <= count <= self.num_layers or count != int(count):
            raise ValueError(f"the number of trainable layers is None, or 0 to {self.num_layers}; got {count!r}")
        inside = self.layer_groups()[-1 - int(count) :] if count else []
        selected = {id(variable) for group in inside for variable in group}
        return [variable for variable in self.weights if id(variable) not in selected]

    def example_shapes(self) -> list[tuple[int, ...]]:
        return [self.image_shape]

    def compute_output_shape(self, input_shape) -> dict[str, tuple]:
        batch = input_shape[0]
        return {"cls_token": (batch, self.hidden_dim), "patch_tokens": (batch, self.num_patches, self.hidden_dim)}

    def call(self, inputs, training=False):
        tokens = self.encode(inputs, training=training)
        return {"cls_token": self.pool(tokens, "cls"), "patch_tokens": tokens.patches}

    def get_config(self) -> dict[str, Any]:
        own = {"image_shape": self.image_shape, "mean": self.normalize_pixels.mean, "std": self.normalize_pixels.std}
        keras_own = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype_policy}
        return {**keras_own, **own, **frozen_parts(self)}

    @classmethod
    def from_config(cls: type[AnyEncoder], config: dict[str, Any]) -> AnyEncoder:
        return model_from_config(cls, config)
