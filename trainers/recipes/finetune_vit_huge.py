"""Fine-tuning of ViT-H/14 on ImageNet-1k, 224 x 224, 50 epochs.

Evidence: arXiv 2111.06377, table 9 (settings). Not run here.
Command: `keras-mae finetune --recipe=finetune_vit_huge --run=runs/mae_vit_huge --data=folder:/data/imagenet
--output=runs/finetune`.
Expected (paper, table 3): 86.9 % top-1 after 1,600 epochs of pretraining.
Deviations from the paper: none known.
"""

from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.recipes import finetune_vit_large
from keras_mae.trainers.settings import replaced


def config() -> FinetuneConfig:
    """The paper's recipe for ViT-H: ViT-L's with more drop path."""
    return replaced(finetune_vit_large.config(), preset="vit_huge_patch14", drop_path_rate=0.3)
