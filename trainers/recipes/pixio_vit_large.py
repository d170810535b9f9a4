"""Pixio ViT-L/16, 256 x 256: eight class tokens, masks of 4 x 4 patches, a decoder of 32 blocks.

Evidence: arXiv 2512.15715; settings of pixio_vit_huge. Not run here.
Command: `keras-mae pretrain --recipe=pixio_vit_large --data=folder:/data/imagenet21k --output=runs/pixio_vit_large`;
vectors of images as in pixio_vit_huge.
Deviations from the paper: its ViT-L is distilled from a ViT-5B, which no recipe here does; pretraining of this size is
not given, so all but the encoder's size is as in pixio_vit_huge, and there is no drop path, as in MAE.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.recipes import pixio_vit_base
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """The settings of pixio_vit_base with the large encoder."""
    return replaced(pixio_vit_base.config(), preset="pixio_vit_large_patch16")
