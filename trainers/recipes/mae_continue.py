"""MAE that goes on from the weights of `--init` on images of one's own, whatever the encoder's size.

Evidence: `python -m benchmarks.continued`, a small ViT from digits to 300 letters, three seeds (docs/continue.md):
62.5 % with ten labels a class, against 57.6 untouched and 56.7 from scratch. A fresh decoder first and all at once
(62.0) do not differ beyond their spread, nor does one rate for all layers (62.1). Larger encoders were not run.
Command: `keras-mae pretrain --init=mae_vit_base --data=folder:/data/pictures --output=runs/continued`, which takes this
recipe by itself. The sizes of the encoder, and of a decoder in the file, are the file's; `--set image_size=...` resizes
positions, `--set channels=...` adapts the patch projection.
The encoder has a lower rate than the decoder, by layer-wise decay. If the file has no decoder, the fresh one learns
alone for the first tenth of the epochs, with the encoder frozen, as it would spoil the encoder otherwise; `--set
frozen_epochs=0` trains both from the first step.
Deviations from the paper: it pretrains from scratch; here batches are small, epochs an eighth, and the above.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """The paper's settings, shorter, in batches of 64; the peak learning rate is 1.5e-4 behind the encoder."""
    return replaced(
        PretrainConfig(),
        epochs=100,
        warmup_epochs=5.0,
        batch_size=64,
        base_learning_rate=6e-4,
        layer_decay=0.75,
    )
