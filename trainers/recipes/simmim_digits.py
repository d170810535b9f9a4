"""SimMIM on digits, 28 x 28, one channel.

Evidence: none; the settings are those of mae_digits where the paper does not say otherwise.
Command: `keras-mae pretrain --recipe=simmim_digits --data=digits --output=runs/simmim`.
Deviations from the paper: a far smaller network without LayerScale, no augmentation, units of one patch, half a cosine.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.recipes import mae_digits
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """The encoder of mae_digits with relative positions in place of absolute ones."""
    return replaced(
        mae_digits.config(),
        method="simmim",
        position_embedding=None,
        relative_position_bias="shared",
        masking="units",
        unit=4,
        mask_ratio=0.75,
        epochs=20,
    )
