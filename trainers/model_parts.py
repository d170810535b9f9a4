"""The parts of a config that make a model: each holds the settings of one kind, and builds it.

A new kind is a frozen dataclass under one of the registries below: `--set masking=NAME`, `config.json` and `keras-mae
recipes --show` then know it, and its docstring explains its settings there. Each setting has a default. Only `build`
imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from keras_mae.registry import Registry
from keras_mae.trainers.ranges import (
    Count,
    Layers,
    Range,
    Share,
    ShareAbove0,
    Size,
)

if TYPE_CHECKING:
    from keras_mae import models, targets

METHODS: Registry[type] = Registry("method")
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
            **_positions(encoder),
            dtype=dtype,
        )


@DECODERS.register("cross")
@dataclasses.dataclass(frozen=True)
class Cross:
    """Cross-attention from masked patches to the encoder's tokens, `CrossDecoder`, as in CrossMAE.

    Attributes:
        hidden_dim: width of a query.
        num_layers: number of blocks.
        num_heads: attention heads of a block.
        encoder_layers: layers of the encoder, counted from 1, whose tokens each block weighs, the last one among them;
            None for the encoder's output.
    """

    hidden_dim: Size = 512
    num_layers: Layers = 12
    num_heads: Size = 16
    encoder_layers: tuple[Count, ...] | None = None

    def build(self, encoder: Any, dtype: str) -> models.CrossDecoder:
        """The decoder of a built encoder, with positions of the same kind."""
        from keras_mae import models

        return models.CrossDecoder(
            self.hidden_dim,
            self.num_layers,
            self.num_heads,
            encoder_layers=self.encoder_layers,
            **_positions(encoder),
            dtype=dtype,
        )


def _positions(encoder: Any) -> dict[str, Any]:
    """Position embeddings of the kind that the encoder has."""
    return {
        "position_embedding": getattr(encoder, "position_embedding", None) or "sincos",
        "position_temperature": getattr(encoder, "position_temperature", 10000.0),
    }


@METHODS.register("mae")
@dataclasses.dataclass(frozen=True)
class MAE:
    """A masked autoencoder: the encoder sees only the visible patches, the decoder predicts the masked ones.

    Attributes:
        mask_tokens_in_encoder: whether the encoder sees mask tokens, too, see `MaskedAutoencoder`.
        predict_ratio: share of the masked patches that a step predicts.
        visible_weight: weight of the loss on visible patches; 0 for none. It needs a `predict_ratio` of 1.
    """

    mask_tokens_in_encoder: bool = False
    predict_ratio: ShareAbove0 = 1.0
    visible_weight: Share = 0.0

    def build(self, encoder, decoder, masking, target, loss, seed: int, dtype: str) -> models.MaskedAutoencoder:
        """The model of the built parts."""
        from keras_mae import models

        own = dataclasses.asdict(self)
        return models.MaskedAutoencoder(encoder, decoder, masking, target, loss, seed=seed, **own, dtype=dtype)


@METHODS.register("simmim")
@dataclasses.dataclass(frozen=True)
class SimMIM:
    """SimMIM: the encoder sees a token in place of each masked patch, one linear layer predicts pixels."""

    without: ClassVar[tuple[str, ...]] = ("decoder",)  # parts of a config that this method excludes

    def build(self, encoder, decoder, masking, target, loss, seed: int, dtype: str) -> models.SimMIM:
        """The model of the built parts; `decoder` is None."""
        from keras_mae import models

        return models.SimMIM(encoder, masking, target, loss, seed=seed, dtype=dtype)
