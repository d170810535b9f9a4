"""Segmentation of small images, 28 to 128 pixels, by the encoder in `--run`, whatever its size.

Evidence: that it trains, by the tests.
Command: `keras-mae segment --recipe=segment_small_images --run=runs/small --data=pairs:/data/images,/data/masks
--output=runs/segmented`.
Deviations from the paper: batches of 16 of few images, with a peak learning rate of 1e-3; 50 epochs; layer-wise decay
of 0.75; no drop path; images are scaled by 0.7 to 1.5, and their colours vary by 0.2.
"""

from keras_mae.trainers.segment_config import SegmentConfig
from keras_mae.trainers.settings import replaced


def config() -> SegmentConfig:
    """The peak learning rate is 1e-3."""
    return replaced(
        SegmentConfig(),
        epochs=50,
        warmup_epochs=5.0,
        base_learning_rate=1.6e-2,
        layer_decay=0.75,
        drop_path_rate=0.0,
        scale=(0.7, 1.5),
        jitter=0.2,
        jit_compile=True,
    )
