"""Fine-tuning on small images, 28 to 96 pixels, of the encoder in `--run`, whatever its size.

Evidence: that it trains, by the tests; all but crops, flips and the dtype policy is as in finetune_digits, where it was
measured.
Command: `keras-mae finetune --recipe=finetune_small_images --run=runs/small --data=folder:/data/pictures
--output=runs/finetuned`.
Deviations from the paper: as in finetune_digits, but for crops and flips; no RandAugment, mixup, cutmix or erasing.
"""

from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.recipes import finetune_digits
from keras_mae.trainers.settings import replaced


def config() -> FinetuneConfig:
    """The settings of finetune_digits, with crops and flips."""
    return replaced(finetune_digits.config(), crop_scale=(0.35, 1.0), flip=True, dtype_policy="auto")
