"""Digits, 28 x 28, one channel: what `keras-mae demo` runs.

Evidence: `keras-mae demo`; docs/results.md has its table, with seed, seconds and versions in results.json.
Deviations from the paper: a far smaller network, no augmentation, plain pixels as the target, and waves for the
positions that suit a grid of 7 x 7 (the paper's leave the loss on a plateau for the first epochs).
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.encoder_parts import ViT
from keras_mae.trainers.model_parts import Transformer
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """A ViT 128 wide and 3 deep on patches of 4 x 4; the peak learning rate is 1e-3."""
    return replaced(
        PretrainConfig(),
        encoder=ViT(
            preset="vit_tiny_patch16",
            image_size=(28, 28),
            channels=1,
            patch_size=(4, 4),
            hidden_dim=128,
            num_layers=3,
            num_heads=2,
            position_temperature=10.0,
            mean=(0.1307,),
            std=(0.3081,),
        ),
        decoder=Transformer(hidden_dim=64, num_layers=1, num_heads=2),
        normalize_target=False,
        epochs=42,
        warmup_epochs=2.0,
        batch_size=25,
        base_learning_rate=1.024e-2,
        crop_scale=None,
        flip=False,
        crop_ratio=1.0,
        dtype_policy="float32",
        jit_compile=True,
    )
