"""Fine-tuning of ViT-L/16 on ImageNet-1k, 224 x 224, 50 epochs.

Evidence: arXiv 2111.06377, table 9 (settings). Not run here.
Command: `keras-mae finetune --recipe=finetune_vit_large --run=runs/mae_vit_large --data=folder:/data/imagenet
--output=runs/finetune`.
Expected (paper, table 3): 85.9 % top-1 after 1,600 epochs of pretraining.
Deviations from the paper: none known.
"""

from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.settings import replaced


def config() -> FinetuneConfig:
    """The paper's recipe for ViT-L."""
    return replaced(
        FinetuneConfig(),
        preset="vit_large_patch16",
        epochs=50,
        base_learning_rate=1e-3,
        layer_decay=0.75,
        drop_path_rate=0.2,
    )
