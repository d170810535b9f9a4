"""The sizes of the models in the benchmarks of the train step."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Size:
    """A masked autoencoder and its batch; widths of the MLPs are four times those of the tokens."""

    image_size: int
    patch_size: int
    hidden_dim: int
    num_layers: int
    num_heads: int
    decoder_hidden_dim: int
    decoder_num_layers: int
    decoder_num_heads: int
    batch_size: int
    channels: int = 3
    num_cls_tokens: int = 1

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)`."""
        return (self.image_size, self.image_size, self.channels)


SIZES = {
    # as the recipe mae_small_images, with all of the twelve blocks
    "vit_tiny": Size(32, 4, 192, 12, 3, 96, 2, 3, batch_size=256),
    "vit_base": Size(224, 16, 768, 12, 12, 512, 8, 16, batch_size=16),
    "vit_large": Size(224, 16, 1024, 24, 16, 512, 8, 16, batch_size=16),
    "vit_huge": Size(224, 14, 1280, 32, 16, 512, 8, 16, batch_size=16),
    "pixio_base": Size(256, 16, 768, 12, 12, 512, 32, 16, batch_size=16, num_cls_tokens=8),
    # a decoder and a share of masked patches as in ViT-B's step, on which the clock can be read on two cores
    "decoders": Size(96, 8, 192, 6, 3, 128, 8, 4, batch_size=32),
    "digits": Size(28, 4, 128, 3, 2, 64, 1, 2, batch_size=25, channels=1),  # as the recipe mae_digits
    "small": Size(32, 4, 64, 3, 4, 48, 2, 3, batch_size=16),
    "toy": Size(16, 4, 16, 2, 2, 8, 1, 2, batch_size=4),
}


def images_of(size: Size) -> np.ndarray:
    """A batch of noise, uint8."""
    return np.random.default_rng(0).integers(0, 256, (size.batch_size, *size.image_shape), dtype="uint8")
