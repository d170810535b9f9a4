"""CrossMAE ViT-B/16 on ImageNet-1k, 224 x 224, 800 epochs: a decoder of cross-attention that weighs encoder layers.

Evidence: arXiv 2401.14391, and the command and the published files of its code: decoder 512 wide and 12 deep, three
quarters of the patches masked and all of these predicted, batch, rates and epochs as MAE's. Not run here.
Command: `keras-mae pretrain --recipe=crossmae_vit_base --data=folder:/data/imagenet --output=runs/crossmae_vit_base`;
fine-tuning and probes as for mae_vit_base. The paper's cheaper form predicts a quarter of all patches: `--set
predict_ratio=0.333 --set base_learning_rate=5e-5`, as its code scales the rate by that share.
Expected (paper and its published file): 83.7 % fine-tuned, 65.4 % linear probe.
Deviations from the paper: each block weighs the outputs of the twelve encoder layers, and not the first one's input,
which its command adds.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.model_parts import Cross
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """The settings of mae_vit_base with the cross decoder."""
    decoder = Cross(hidden_dim=512, num_layers=12, num_heads=16, encoder_layers=tuple(range(1, 13)))
    return replaced(PretrainConfig(), decoder=decoder)
