"""Attentive probe of ViT-B/16 on ImageNet-1k, 224 x 224, 90 epochs, 32 queries.

Evidence: arXiv 2506.10178 (efficient probing), and its code's command for MAE ViT-B/16: 32 queries, LARS, base rate
0.1, batches of 4096, 10 epochs of warm-up, and the patch tokens of the last block before the final norm. Not run here.
Command: `keras-mae linear-probe --recipe=probe_attentive_vit_base --run=runs/mae_vit_base --data=folder:/data/imagenet
--output=runs/probe`.
Expected: 75.5 % top-1, of the best epoch, after 1,600 epochs of pretraining (the code's table; its linear probe has
67.8).
Deviations from the paper: the linear layer's bias starts from zero.
"""

from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.recipes import probe_vit_base
from keras_mae.trainers.settings import replaced


def config() -> ProbeConfig:
    """The rest is MAE's linear probe; layer 12 of 12, counted from 1, is the last."""
    return replaced(probe_vit_base.config(), pooling="attentive", num_queries=32, layer=12, batch_size=4096)
