"""Partial fine-tuning of ViT-L/16 on ImageNet-1k: the last block alone; 0.5 for its MLP, 4 for four blocks, ...

Evidence: arXiv 2111.06377, section 4.3 and figure 9. Not run here.
Command: `keras-mae finetune --recipe=finetune_last_blocks_vit_large --set num_trainable_layers=0.5 --set epochs=200
--run=runs/mae_vit_large --data=folder:/data/imagenet --output=runs/half_a_block`.
Expected (paper): 79.1 % top-1 with half a block, 81.0 with one, near full fine-tuning with four to six.
Deviations from the paper: it takes the best of 50, 100 and 200 epochs for each number of blocks, fewer blocks wanting
more; 100 is in between.
"""

from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.recipes import finetune_vit_large
from keras_mae.trainers.settings import replaced


def config() -> FinetuneConfig:
    """The settings of full fine-tuning, with all but the last block frozen."""
    return replaced(finetune_vit_large.config(), num_trainable_layers=1, epochs=100)
