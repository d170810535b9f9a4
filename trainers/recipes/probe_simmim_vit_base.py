"""Linear probe of SimMIM's ViT-B/16 on ImageNet-1k, 224 x 224, 90 epochs.

Evidence: the mean of the patch tokens after block 8 is what arXiv 2111.09886 probes; the rest is MAE's probe (arXiv
2111.06377, table 10). Not run here.
Command: `keras-mae linear-probe --recipe=probe_simmim_vit_base --run=runs/simmim_vit_base --data=folder:/data/imagenet
--output=runs/probe`.
Deviations from the paper: optimizer and schedule, which it does not give.
"""

from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.recipes import probe_vit_base
from keras_mae.trainers.settings import replaced


def config() -> ProbeConfig:
    """Features from the middle of the encoder: its last blocks belong to the pixels."""
    return replaced(probe_vit_base.config(), layer=8, pooling="mean")
