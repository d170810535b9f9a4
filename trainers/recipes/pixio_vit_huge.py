"""Pixio ViT-H/16, 256 x 256: eight class tokens, masks of 4 x 4 patches, a decoder of 32 blocks.

Evidence: arXiv 2512.15715, and the command that its code gives for this model on ImageNet (batch, rates, drop path,
crops, masks, decoder); the mean of the class tokens is the image's vector there. Not run here: it took 128 GPUs.
Command: `keras-mae pretrain --recipe=pixio_vit_huge --data=folder:/data/imagenet21k --output=runs/pixio_vit_huge`, then
`keras-mae knn --run=runs/pixio_vit_huge --set pooling=cls ...`, and `--pooling=cls` for embed and export.
Its epochs are of 1,605 steps, 13,148,160 images, about as many as ImageNet-21k has; for as many steps on ImageNet-1k
`--set epochs=4115 --set warmup_epochs=411`.
Expected (paper, the weights that it publishes, distilled from a ViT-5B trained on two billion images; frozen, linear):
NYUv2 depth 90.8 (MAE 70.3), ADE20K 50.2 (MAE 35.2).
Deviations from the paper: no weight decay on tokens and positions.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.recipes import pixio_vit_base
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """The settings of pixio_vit_base with the huge encoder and its drop path."""
    return replaced(pixio_vit_base.config(), preset="pixio_vit_huge_patch16", drop_path_rate=0.4)
