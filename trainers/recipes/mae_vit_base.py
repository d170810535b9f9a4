"""MAE ViT-B/16 on ImageNet-1k, 224 x 224, 800 epochs.

Evidence: arXiv 2111.06377, table 8 (settings); 111,907,840 parameters. Not run here: the paper used 128 TPU-v3 cores.
Command: `keras-mae pretrain --recipe=mae_vit_base --data=folder:/data/imagenet --output=runs/mae_vit_base`.
Expected (paper, table 3, 1,600 epochs): 83.6 % fine-tuned.
Deviations from the paper: none known; the paper's figure is for 1,600 epochs (`--set epochs=1600`).
"""

from keras_mae.trainers.config import PretrainConfig


def config() -> PretrainConfig:
    """The paper's recipe, which the defaults are."""
    return PretrainConfig()
