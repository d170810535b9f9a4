"""Linear probe on digits, of the encoder in `--run`, whatever its size.

Evidence: `python -m benchmarks.digits_evaluation`, which runs it on pretrained and on untrained encoders over three
seeds.
Command: `keras-mae linear-probe --recipe=probe_digits --run=runs/digits --data=digits --output=runs/probe`.
Deviations from the paper: no augmentation, so that features are computed once; the mean of the patch tokens; batches of
250, and half the warm-up.
"""

from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.settings import replaced


def config() -> ProbeConfig:
    """The peak learning rate is 6."""
    return replaced(
        ProbeConfig(),
        pooling="mean",
        warmup_epochs=5.0,
        batch_size=250,
        base_learning_rate=6.144,
        crop_scale=None,
        flip=False,
        crop_ratio=1.0,
        dtype_policy="float32",
    )
