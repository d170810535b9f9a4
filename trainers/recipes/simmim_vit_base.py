"""SimMIM ViT-B/16 on ImageNet-1k, 224 x 224, 800 epochs.

Evidence: arXiv 2111.09886, appendix A, and the configuration of its code (simmim_pretrain__vit_base__img224__800ep),
whose base learning rate of 1e-4 is for 512 images, so half of it for 256. Not run here.
Command: `keras-mae pretrain --recipe=simmim_vit_base --data=folder:/data/imagenet --output=runs/simmim_vit_base`.
Expected (its README): 83.8 % fine-tuned.
Deviations from the paper: Xavier-uniform initialisation in place of a truncated normal of 0.02, warm-up from 0 in place
of 2e-6, and no weight decay on the mask token.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """The published model: relative positions that all blocks share, LayerScale; the peak learning rate is 4e-4."""
    return replaced(
        PretrainConfig(),
        method="simmim",
        position_embedding=None,
        relative_position_bias="shared",
        layer_scale=0.1,
        drop_path_rate=0.1,
        masking="units",
        unit=32,
        mask_ratio=0.6,
        normalize_target=False,
        warmup_epochs=10.0,
        milestones=(700.0,),
        batch_size=2048,
        base_learning_rate=5e-5,
        beta_2=0.999,
        crop_scale=(0.67, 1.0),
        clip_norm=5.0,
    )
