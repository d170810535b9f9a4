"""MAE ViT-L/16 on ImageNet-1k, 224 x 224, 800 epochs.

Evidence: arXiv 2111.06377, table 8 (settings). Not run here: the paper used 128 TPU-v3 cores.
Command: `keras-mae pretrain --recipe=mae_vit_large --data=folder:/data/imagenet --output=runs/mae_vit_large`.
Expected (paper, table 1): 84.9 % fine-tuned and 73.5 % probed on plain pixels, 85.4 and 73.9 on normalised ones, which
this recipe has; `--set epochs=1600` for the released weights' schedule.
Deviations from the paper: none known.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """The paper's recipe with the large encoder."""
    return replaced(PretrainConfig(), preset="vit_large_patch16")
