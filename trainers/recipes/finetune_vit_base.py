"""Fine-tuning of ViT-B/16 on ImageNet-1k, 224 x 224, 100 epochs.

Evidence: arXiv 2111.06377, table 9 (settings). Not run here.
Command: `keras-mae finetune --recipe=finetune_vit_base --run=runs/mae_vit_base --data=folder:/data/imagenet
--output=runs/finetune`.
Expected (paper, table 3): 83.6 % top-1 after 1,600 epochs of pretraining.
Deviations from the paper: none known.
"""

from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.settings import replaced


def config() -> FinetuneConfig:
    """The paper's recipe for ViT-B."""
    return replaced(FinetuneConfig(), preset="vit_base_patch16")
