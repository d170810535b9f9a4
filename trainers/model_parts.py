"""The parts of a config that make a model: each holds the settings of one kind, and builds it.

A new kind is a frozen dataclass under one of the registries below: `--set masking=NAME`, `config.json` and `keras-mae
recipes --show` then know it, and its docstring explains its settings there. Each setting has a default. Only `build`
imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from keras_mae.registry import Registry
from keras_mae.trainers.ranges import (
    AtLeast0,
    Count,
    Layers,
    Positive,
    Preset,
    Range,
    Share,
    ShareAbove0,
    ShareBelow1,
    Size,
)

if TYPE_CHECKING:
    from keras_mae import models, targets

METHODS: Registry[type] = Registry("method")
ENCODERS: Registry[type] = Registry("encoder")
MASKING: Registry[type] = Registry("masking")
TARGETS: Registry[type] = Registry("target")
LOSSES: Registry[type] = Registry("loss")
DECODERS: Registry[type] = Registry("decoder")


@dataclasses.dataclass(frozen=True)
class Part:
    """A part whose settings are the arguments of a class."""

    builds: ClassVar[str]  # the class, and where in keras_mae it is

    def build(self) -> Any:
        """The object of these settings."""
        module, _, name = self.builds.rpartition(".")
        return getattr(importlib.import_module(f"keras_mae.{module}"), name)(**dataclasses.asdict(self))


@ENCODERS.register("vit")
@dataclasses.dataclass(frozen=True)
class ViT:
    """A Vision Transformer, `ViTEncoder`.

    Attributes:
        preset: named sizes, such as `vit_base_patch16`.
        image_size: height and width of the model's images, in pixels.
        channels: number of channels of the images; `mean` and `std` have as many numbers.
        patch_size: height and width of a patch, in pixels.
        hidden_dim: width of a token; None for the preset's.
        num_layers: number of transformer blocks; None for the preset's.
        num_heads: attention heads of a block; None for the preset's.
        use_cls_token: whether there is a class token.
        position_embedding: `sincos`, `learned` or None: absolute positions, also of the decoder (sin-cos for None).
        position_temperature: of sin-cos positions: the longest wave spans 2 pi times as many patches.
        relative_position_bias: `shared` by all blocks, `per_block`, or None.
        layer_scale: initial value of LayerScale's gains; None for no LayerScale.
        drop_path_rate: share of the examples that skip the last block; it grows linearly from 0 at the first block.
        mean: of the pixels, a number in [0, 1] for each channel; None for ImageNet's (three channels) or 0.5.
        std: of the pixels, as `mean`.
    """

    preset: Preset = "vit_base_patch16"
    image_size: tuple[Size, Size] = (224, 224)
    channels: Size = 3
    patch_size: tuple[Size, Size] = (16, 16)
    hidden_dim: Size | None = None
    num_layers: Layers | None = None
    num_heads: Size | None = None
    use_cls_token: bool = True
    position_embedding: Literal["sincos", "learned"] | None = "sincos"
    position_temperature: Positive = 10000.0
    relative_position_bias: Literal["shared", "per_block"] | None = None
    layer_scale: AtLeast0 | None = None
    drop_path_rate: ShareBelow1 = 0.0
    mean: tuple[Share, ...] | None = None
    std: tuple[ShareAbove0, ...] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)`."""
        return (*self.image_size, self.channels)

    def arguments(self) -> dict[str, Any]:
        """The arguments of `ViTEncoder.from_preset` beside the preset."""
        given = dataclasses.asdict(self)
        del given["preset"], given["image_size"], given["channels"]
        for size in ("hidden_dim", "num_layers", "num_heads"):
            if given[size] is None:  # the preset's
                del given[size]
        return {"image_shape": self.image_shape, **given}

    def build(self, dtype: str) -> models.ViTEncoder:
        """The encoder, freshly initialised."""
        from keras_mae import models

        return models.ViTEncoder.from_preset(self.preset, **self.arguments(), dtype=dtype)


@dataclasses.dataclass(frozen=True)
class Masking(Part):
    """A mask sampler of the package.

    Attributes:
        mask_ratio: share of the patches that is masked.
    """

    mask_ratio: Annotated[float, Range(0, 1, without=(0, 1))] = 0.75


@MASKING.register("random")
class Random(Masking):
    """Patches drawn uniformly at random."""

    builds = "masking.RandomMasking"


@MASKING.register("units")
@dataclasses.dataclass(frozen=True)
class Units(Masking):
    """Squares of several patches drawn at random, as in SimMIM.

    Attributes:
        unit: side of a square, in pixels.
    """

    builds = "masking.UnitMasking"

    unit: Size = 32


@MASKING.register("blocks")
class Blocks(Masking):
    """Large rectangles, as in BEiT."""

    builds = "masking.BlockMasking"


@MASKING.register("grid")
class Grid(Masking):
    """One of every 2 x 2 patches stays visible."""

    builds = "masking.GridMasking"


@TARGETS.register("pixels")
@dataclasses.dataclass(frozen=True)
class Pixels:
    """The pixels of a patch.

    Attributes:
        normalize_target: whether each patch is normalised by its own mean and variance.
    """

    normalize_target: bool = True

    def build(self) -> targets.PixelTarget:
        """The target."""
        from keras_mae import targets

        return targets.PixelTarget(normalize=self.normalize_target)


@TARGETS.register("pca")
@dataclasses.dataclass(frozen=True)
class PCA:
    """Principal components of the patches, fitted before the first step.

    Attributes:
        pca_components: number of components.
    """

    pca_components: Count = 96

    def build(self) -> targets.PCATarget:
        """The target, not fitted yet."""
        from keras_mae import targets

        return targets.PCATarget(self.pca_components)


@TARGETS.register("tokens")
@dataclasses.dataclass(frozen=True)
class Tokens(Part):
    """The tokens of a trained tokenizer, see `TokenTarget`.

    Attributes:
        tokenizer: the folder of its SavedModel.
        vocabulary_size: number of different tokens.
    """

    builds = "targets.TokenTarget"

    tokenizer: str | None = None
    vocabulary_size: Annotated[int, Range(2, 1_000_000_000)] | None = None


@LOSSES.register("default")
@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss of the method: `mse` for mae, `l1` for simmim, `cross_entropy` for tokens."""

    def build(self) -> None:
        """None, which stands for the loss of the method."""


@LOSSES.register("mse")
class MeanSquaredError(Part):
    """The squared error, averaged over each masked patch."""

    builds = "losses.MaskedMeanSquaredError"


@LOSSES.register("l1")
class L1(Part):
    """The absolute error over masked pixels and channels, as in SimMIM."""

    builds = "losses.MaskedL1"


@LOSSES.register("cross_entropy")
class CrossEntropy(Part):
    """The cross-entropy of tokens."""

    builds = "losses.MaskedCrossEntropy"


@DECODERS.register("transformer")
@dataclasses.dataclass(frozen=True)
class Transformer:
    """A light transformer, `MAEDecoder`.

    Attributes:
        hidden_dim: width of a token.
        num_layers: number of transformer blocks.
        num_heads: attention heads of a block.
    """

    hidden_dim: Size = 512
    num_layers: Layers = 8
    num_heads: Size = 16

    def build(self, encoder: Any, dtype: str) -> models.MAEDecoder:
        """The decoder of a built encoder, with positions of the same kind."""
        from keras_mae import models

        return models.MAEDecoder(
            self.hidden_dim,
            self.num_layers,
            self.num_heads,
            position_embedding=getattr(encoder, "position_embedding", None) or "sincos",
            position_temperature=getattr(encoder, "position_temperature", 10000.0),
            dtype=dtype,
        )


@METHODS.register("mae")
@dataclasses.dataclass(frozen=True)
class MAE:
    """A masked autoencoder: the encoder sees only the visible patches, the decoder predicts the masked ones.

    Attributes:
        mask_tokens_in_encoder: whether the encoder sees mask tokens, too, see `MaskedAutoencoder`.
    """

    mask_tokens_in_encoder: bool = False

    def build(self, encoder, decoder, masking, target, loss, seed: int, dtype: str) -> models.MaskedAutoencoder:
        """The model of the built parts."""
        from keras_mae import models

        inside = self.mask_tokens_in_encoder
        return models.MaskedAutoencoder(
            encoder, decoder, masking, target, loss, seed=seed, mask_tokens_in_encoder=inside, dtype=dtype
        )


@METHODS.register("simmim")
@dataclasses.dataclass(frozen=True)
class SimMIM:
    """SimMIM: the encoder sees a token in place of each masked patch, one linear layer predicts pixels."""

    without: ClassVar[tuple[str, ...]] = ("decoder",)  # parts of a config that this method excludes

    def build(self, encoder, decoder, masking, target, loss, seed: int, dtype: str) -> models.SimMIM:
        """The model of the built parts; `decoder` is None."""
        from keras_mae import models

        return models.SimMIM(encoder, masking, target, loss, seed=seed, dtype=dtype)
