"""Fine-tuning of SimMIM's ViT-B/16 on ImageNet-1k, 224 x 224, 100 epochs.

Evidence: arXiv 2111.09886, appendix A, and the configuration of its code (simmim_finetune__vit_base__img224__800ep),
whose base learning rate of 1.25e-3 is for 512 images, so half of it for 256. Not run here.
Command: `keras-mae finetune --recipe=finetune_simmim_vit_base --run=runs/simmim_vit_base --data=folder:/data/imagenet
--output=runs/finetune`.
Expected (its README): 83.8 % top-1.
Deviations from the paper: warm-up from 0 in place of 1e-6.
"""

from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.settings import replaced


def config() -> FinetuneConfig:
    """Each block gets relative positions of its own; the peak learning rate is 5e-3."""
    return replaced(
        FinetuneConfig(),
        preset="vit_base_patch16",
        relative_position_bias="per_block",
        warmup_epochs=20.0,
        batch_size=2048,
        base_learning_rate=6.25e-4,
        clip_norm=5.0,
    )
