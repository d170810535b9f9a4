"""Linear probe on small images, 28 to 96 pixels, of the encoder in `--run`, whatever its size.

Evidence: the same settings on digits, see probe_digits.
Command: `keras-mae linear-probe --recipe=probe_small_images --run=runs/small --data=folder:/data/pictures
--output=runs/probe`.
Deviations from the paper: no augmentation, so that features are computed once and the rest takes seconds; the mean of
the patch tokens; batches of 250.
"""

from keras_mae.trainers.probe_config import ProbeConfig


def config() -> ProbeConfig:
    """The peak learning rate is 6."""
    return ProbeConfig(
        pooling="mean",
        epochs=90,
        warmup_epochs=5.0,
        batch_size=250,
        base_learning_rate=6.144,
        crop_scale=None,
        flip=False,
        crop_ratio=1.0,
    )
