"""Pixio ViT-B/16, 256 x 256: eight class tokens, masks of 4 x 4 patches, a decoder of 32 blocks.

Evidence: arXiv 2512.15715; settings of pixio_vit_huge. Not run here.
Command: `keras-mae pretrain --recipe=pixio_vit_base --data=folder:/data/imagenet21k --output=runs/pixio_vit_base`;
vectors of images as in pixio_vit_huge.
Deviations from the paper: its ViT-B is distilled from a ViT-5B, which no recipe here does; pretraining of this size is
not given, so all but the encoder's size is as in pixio_vit_huge, and there is no drop path, as in MAE.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.model_parts import Transformer
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """Pixio's masks, decoder and schedule; the peak learning rate is 8e-4."""
    return replaced(
        PretrainConfig(),
        preset="pixio_vit_base_patch16",
        image_size=(256, 256),
        num_cls_tokens=8,
        position_embedding="learned",
        masking="units",
        unit=64,
        mask_ratio=0.75,
        decoder=Transformer(hidden_dim=512, num_layers=32, num_heads=16),
        epochs=400,
        warmup_epochs=40.0,
        batch_size=8192,
        base_learning_rate=2.5e-5,
        flip=False,
        crop_ratio=1.0,
    )
