"""Linear probe of ViT-B/16 on ImageNet-1k, 224 x 224, 90 epochs.

Evidence: arXiv 2111.06377, table 10 (settings). Not run here.
Command: `keras-mae linear-probe --recipe=probe_vit_base --run=runs/mae_vit_base --data=folder:/data/imagenet
--output=runs/probe`.
Expected: 68.0 % top-1 after 1,600 epochs of pretraining (table 12).
Deviations from the paper: none known.
"""

from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.settings import replaced


def config() -> ProbeConfig:
    """The paper's recipe for ViT-B."""
    return replaced(ProbeConfig(), preset="vit_base_patch16")
