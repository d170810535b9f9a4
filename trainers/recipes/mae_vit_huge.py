"""MAE ViT-H/14 on ImageNet-1k, 224 x 224, 800 epochs.

Evidence: arXiv 2111.06377, table 8 (settings). Not run here: the paper used 128 TPU-v3 cores.
Command: `keras-mae pretrain --recipe=mae_vit_huge --data=folder:/data/imagenet --output=runs/mae_vit_huge`.
Expected (paper, table 3, 1,600 epochs): 86.9 % fine-tuned.
Deviations from the paper: none known; the paper's figure is for 1,600 epochs (`--set epochs=1600`).
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """The paper's recipe with the huge encoder, on patches of 14 x 14."""
    return replaced(PretrainConfig(), preset="vit_huge_patch14", patch_size=(14, 14))
