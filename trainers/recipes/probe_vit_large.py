"""Linear probe of ViT-L/16 on ImageNet-1k, 224 x 224, 50 epochs.

Evidence: arXiv 2111.06377, table 10 (settings). Not run here.
Command: `keras-mae linear-probe --recipe=probe_vit_large --run=runs/mae_vit_large --data=folder:/data/imagenet
--output=runs/probe`.
Expected: 73.5 % top-1 after 800 epochs on plain pixels, 73.9 on normalised ones (table 1).
Deviations from the paper: none known.
"""

from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.settings import replaced


def config() -> ProbeConfig:
    """The paper's recipe for ViT-L."""
    return replaced(ProbeConfig(), preset="vit_large_patch16", epochs=50)
