"""Small images of one's own, 28 to 48 pixels in colour, with a ViT of ViT-tiny's width on patches of 4 x 4.

Evidence: that it trains, by the tests; no accuracy was measured, as no such set of pictures comes with the package.
Start here, and compare by `keras-mae knn`.
Command: `keras-mae pretrain --recipe=mae_small_images --data=folder:/data/pictures --output=runs/small`; for other
sizes `--set image_size=28,28 --set channels=1`.
Deviations from the paper: a network of 192 x 6 with a decoder of 96 x 2, batches of 128 with a base learning
rate ten times the paper's, waves of the positions that suit a grid of 8 x 8, and a tenth of the epochs.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.encoder_parts import ViT
from keras_mae.trainers.model_parts import Transformer
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """192 wide, 6 deep, on 32 x 32 pixels; the peak learning rate is 7.5e-4."""
    return replaced(
        PretrainConfig(),
        encoder=ViT(
            preset="vit_tiny_patch16", image_size=(32, 32), patch_size=(4, 4), num_layers=6, position_temperature=10.0
        ),
        decoder=Transformer(hidden_dim=96, num_layers=2, num_heads=3),
        epochs=80,
        warmup_epochs=5.0,
        batch_size=128,
        base_learning_rate=1.5e-3,
        crop_ratio=1.0,
        jit_compile=True,
    )
