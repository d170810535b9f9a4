"""The methods of pretraining: what builds a model of an encoder, a decoder, masks, a target and a loss."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from keras_mae.registry import Registry

if TYPE_CHECKING:
    from keras_mae import models

METHODS: Registry[type] = Registry("method")


@METHODS.register("mae")
@dataclasses.dataclass(frozen=True)
class MAE:
    """A masked autoencoder: the encoder sees the visible patches only, the decoder predicts the others.

    Attributes:
        mask_tokens_in_encoder: whether the encoder sees mask tokens, too, see `MaskedAutoencoder`.
    """

    mask_tokens_in_encoder: bool = False

    def build(self, encoder, decoder, masking, target, loss, seed: int, dtype: str) -> models.MaskedAutoencoder:
        """The model of parts that are built."""
        from keras_mae import models

        inside = self.mask_tokens_in_encoder
        return models.MaskedAutoencoder(
            encoder, decoder, masking, target, loss, seed=seed, mask_tokens_in_encoder=inside, dtype=dtype
        )


@METHODS.register("simmim")
@dataclasses.dataclass(frozen=True)
class SimMIM:
    """SimMIM: the encoder sees a token in place of each masked patch, one linear layer predicts pixels."""

    without: ClassVar[tuple[str, ...]] = ("decoder",)  # parts of a config that there are not with this method

    def build(self, encoder, decoder, masking, target, loss, seed: int, dtype: str) -> models.SimMIM:
        """The model of parts that are built; `decoder` is None."""
        from keras_mae import models

        return models.SimMIM(encoder, masking, target, loss, seed=seed, dtype=dtype)
