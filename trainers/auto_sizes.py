"""The sizes of encoders that `--recipe=auto` chooses from, each with the run that has shown it."""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """An encoder and its decoder.

    Attributes:
        preset: its name; the layers may be fewer.
        width, layers, heads: of the encoder.
        decoder: width, layers and heads.
        peak: learning rate after warm-up; None for the paper's, by the batch.
        patches: in all images together, from which on this size is taken.
        source: the run that has shown it, for people.
    """

    preset: str
    width: int
    layers: int
    heads: int
    decoder: tuple[int, int, int]
    peak: float | None
    patches: float
    source: str


# The set of images is counted in patches: digits are 4,000 x 49 = 0.2 million, Imagenette 9,469 x 196 = 1.9 million,
# ImageNet 1.28 million x 196 = 251 million. A size without a run of its own lies midway between those that have one.
SIZES = (
    Size("vit_tiny_patch16", 128, 3, 2, (64, 1, 2), 1e-3, 0, "measured: recipe mae_digits, 4,000 images"),
    Size("vit_tiny_patch16", 192, 6, 3, (96, 2, 3), 7.5e-4, 6e5, "recipe mae_small_images"),
    Size("vit_tiny_patch16", 192, 12, 3, (96, 2, 3), 7.5e-4, 1.2e6, "between mae_small_images and ViT-S"),
    Size("vit_small_patch16", 384, 12, 6, (384, 4, 6), 5e-4, 1.9e6, "published: Imagenette, 9,469 images of 224 px"),
    Size("vit_base_patch16", 768, 12, 12, (512, 8, 16), None, 2e8, "published: arXiv 2111.06377, ImageNet"),
)
