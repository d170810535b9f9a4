"""The parts of a config that make a model: each holds the settings of one kind, and builds it.

A new kind is a frozen dataclass that registers itself here: `--set masking=NAME`, `config.json` and `keras-mae recipes
--show` then know it, and its docstring is what is shown of its settings. Each setting has a default. TensorFlow is
imported by `build` only.
"""

from __future__ import annotations

import dataclasses
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
    from keras_mae.losses import MaskedLoss
    from keras_mae.masking import MaskSampler

ENCODERS: Registry[type] = Registry("encoder")
MASKING: Registry[type] = Registry("masking")
TARGETS: Registry[type] = Registry("target")
LOSSES: Registry[type] = Registry("loss")
DECODERS: Registry[type] = Registry("decoder")


@ENCODERS.register("vit")
@dataclasses.dataclass(frozen=True)
class ViT:
    """A Vision Transformer, `ViTEncoder`.

    Attributes:
        preset: its size, such as `vit_base_patch16`.
        image_size: height and width of the images that the model sees, in pixels.
        channels: how many the images are read with; other than 1 and 3, `mean` and `std` have as many.
        patch_size: height and width of a patch, in pixels.
        hidden_dim: numbers in a token, in place of the preset's.
        num_layers: transformer blocks, in place of the preset's.
        num_heads: attention heads of a block, in place of the preset's.
        use_cls_token: whether there is a class token.
        position_embedding: absolute positions: `sincos`, `learned` or None; the decoder's are of the same kind, or
            sin-cos for an encoder without.
        position_temperature: of sin-cos positions: the longest wave spans 2 pi times as many patches.
        relative_position_bias: `shared` by all blocks, `per_block`, or None.
        layer_scale: what LayerScale's gains start from; None for none.
        drop_path_rate: share of the examples whose last block is skipped; it grows linearly from 0 at the first.
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
        """What `ViTEncoder.from_preset` takes beside the preset."""
        given = dataclasses.asdict(self)
        del given["preset"], given["image_size"], given["channels"]
        sizes = ("hidden_dim", "num_layers", "num_heads")  # the preset's stay where there are none
        kept = {name: value for name, value in given.items() if name not in sizes or value is not None}
        return {"image_shape": self.image_shape, **kept}

    def build(self, dtype: str) -> models.ViTEncoder:
        """The encoder, freshly initialised."""
        from keras_mae import models

        return models.ViTEncoder.from_preset(self.preset, **self.arguments(), dtype=dtype)


@dataclasses.dataclass(frozen=True)
class Masking:
    """A mask sampler of the package.

    Attributes:
        mask_ratio: share of the patches that is masked.
    """

    sampler: ClassVar[str]  # its class in keras_mae.masking

    mask_ratio: Annotated[float, Range(0, 1, without=(0, 1))] = 0.75

    def build(self) -> MaskSampler:
        """The sampler."""
        from keras_mae import masking

        return getattr(masking, self.sampler)(**dataclasses.asdict(self))


@MASKING.register("random")
class Random(Masking):
    """Patches by chance, each alike."""

    sampler = "RandomMasking"


@MASKING.register("units")
@dataclasses.dataclass(frozen=True)
class Units(Masking):
    """Squares of several patches by chance, as in SimMIM.

    Attributes:
        unit: side of a square, in pixels.
    """

    sampler = "UnitMasking"

    unit: Size = 32


@MASKING.register("blocks")
class Blocks(Masking):
    """Large rectangles, as in BEiT."""

    sampler = "BlockMasking"


@MASKING.register("grid")
class Grid(Masking):
    """One of every 2 x 2 patches stays."""

    sampler = "GridMasking"


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
        pca_components: how many coefficients.
    """

    pca_components: Count = 96

    def build(self) -> targets.PCATarget:
        """The target, before its fit."""
        from keras_mae import targets

        return targets.PCATarget(self.pca_components)


@TARGETS.register("tokens")
@dataclasses.dataclass(frozen=True)
class Tokens:
    """The tokens of a trained tokenizer, see `TokenTarget`.

    Attributes:
        tokenizer: the folder of its SavedModel.
        vocabulary_size: how many tokens it has.
    """

    tokenizer: str | None = None
    vocabulary_size: Annotated[int, Range(2, 1_000_000_000)] | None = None

    def build(self) -> targets.TokenTarget:
        """The target.

        Raises:
            ValueError: if there is no tokenizer.
        """
        from keras_mae import targets

        if self.tokenizer is None or self.vocabulary_size is None:
            raise ValueError("target=tokens needs a tokenizer, the folder of a SavedModel, and its vocabulary_size")
        return targets.TokenTarget(self.tokenizer, self.vocabulary_size)


@LOSSES.register("default")
@dataclasses.dataclass(frozen=True)
class Loss:
    """The method's: `mse` for mae, `l1` for simmim, `cross_entropy` for tokens."""

    loss: ClassVar[str | None] = None  # its class in keras_mae.losses

    def build(self) -> MaskedLoss | None:
        """The loss, or None for the method's."""
        from keras_mae import losses

        return None if self.loss is None else getattr(losses, self.loss)()


@LOSSES.register("mse")
class MeanSquaredError(Loss):
    """The squared error, averaged over each masked patch."""

    loss = "MaskedMeanSquaredError"


@LOSSES.register("l1")
class L1(Loss):
    """The absolute error over masked pixels and channels, as in SimMIM."""

    loss = "MaskedL1"


@LOSSES.register("cross_entropy")
class CrossEntropy(Loss):
    """The cross-entropy of tokens."""

    loss = "MaskedCrossEntropy"


@DECODERS.register("transformer")
@dataclasses.dataclass(frozen=True)
class Transformer:
    """A light transformer, `MAEDecoder`.

    Attributes:
        hidden_dim: numbers in a token.
        num_layers: transformer blocks.
        num_heads: attention heads of a block.
    """

    hidden_dim: Size = 512
    num_layers: Layers = 8
    num_heads: Size = 16

    def build(self, encoder: Any, dtype: str) -> models.MAEDecoder:
        """The decoder for a built encoder, with positions of the same kind."""
        from keras_mae import models

        return models.MAEDecoder(
            self.hidden_dim,
            self.num_layers,
            self.num_heads,
            position_embedding=getattr(encoder, "position_embedding", None) or "sincos",
            position_temperature=getattr(encoder, "position_temperature", 10000.0),
            dtype=dtype,
        )
