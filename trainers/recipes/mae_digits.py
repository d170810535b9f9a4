"""Digits, 28 x 28, one channel: what `keras-mae demo` runs.

Evidence: `keras-mae demo`; the README has its table, with seed, seconds and versions in results.json.
Deviations from the paper: a far smaller network, no augmentation, plain pixels as the target.
"""

from keras_mae.trainers.config import PretrainConfig


def config() -> PretrainConfig:
    """A ViT 128 wide and 4 deep on patches of 4 x 4."""
    return PretrainConfig(
        preset="vit_tiny_patch16",
        image_size=(28, 28),
        channels=1,
        patch_size=(4, 4),
        hidden_dim=128,
        num_layers=4,
        num_heads=2,
        mean=(0.1307,),
        std=(0.3081,),
        decoder_hidden_dim=64,
        decoder_num_layers=1,
        decoder_num_heads=2,
        normalize_target=False,
        epochs=20,
        warmup_epochs=2.0,
        batch_size=64,
        base_learning_rate=4e-3,
        crop_scale=None,
        flip=False,
        crop_ratio=1.0,
        pictures_every=5,
    )
