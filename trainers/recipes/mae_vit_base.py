"""MAE ViT-B/16 on ImageNet-1k, 224 x 224, 800 epochs.

Evidence: arXiv 2111.06377, table 8 (settings); 111,907,840 parameters. Not run here: the paper used 128 TPU-v3 cores.
Command: `keras-mae pretrain --recipe=mae_vit_base --data=folder:/data/imagenet --output=runs/mae_vit_base`.
Expected (paper): final loss about 0.42 on normalised pixels; 83.3 % fine-tuned (800 epochs, table 3: 83.6 at 1600).
Deviations from the paper: none known.
"""

from keras_mae.trainers.config import PretrainConfig


def config() -> PretrainConfig:
    """The paper's recipe, which the defaults are."""
    return PretrainConfig()
