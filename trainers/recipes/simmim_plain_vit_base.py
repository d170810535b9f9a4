"""SimMIM on a plain ViT-B/16, ImageNet-1k, 224 x 224, 800 epochs.

Evidence: arXiv 2111.09886, table 1 (units and ratios, measured on Swin-B); else as simmim_vit_base. Not run here.
Command: `keras-mae pretrain --recipe=simmim_plain_vit_base --data=folder:/data/imagenet --output=runs/simmim_plain`;
with `--set unit=16 --set mask_ratio=0.8` for units of one patch.
Deviations from the paper: a ViT with learned absolute positions, without relative ones and without LayerScale; half of
the units are masked.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.recipes import simmim_vit_base
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """The published schedule with the encoder that other libraries have."""
    return replaced(
        simmim_vit_base.config(),
        position_embedding="learned",
        relative_position_bias=None,
        layer_scale=None,
        mask_ratio=0.5,
    )
