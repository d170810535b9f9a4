"""What a fine-tuning run is made of."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from keras_mae.trainers.classifier_config import ClassifierConfig


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(ClassifierConfig):
    """A fine-tuning run. The defaults are the paper's recipe for ViT-B/16 (arXiv 2111.06377, table 9).

    Attributes, beside those of `ClassifierConfig`:
        num_trainable_layers: None trains everything; `n` the last n blocks, the last norm and the head; 0.5 counts the
            MLP of the last block.
        relative_position_bias: None for the encoder's, or `per_block`: each block starts from a copy of the table that
            they shared, as in SimMIM.
        beta_2: AdamW's second moment.
        layer_decay: factor of the learning rate from a layer to the one below; None for one rate.
        drop_path_rate: drop path of the last block; it grows linearly from 0 at the first.
        label_smoothing: share of a label that is spread over all classes.
        mixup, cutmix: parameters of the Beta distributions that the shares are drawn from; 0 switches one off.
        rand_augment: magnitude and its standard deviation; None for none.
        random_erasing: probability that a rectangle of an image is erased.
        accumulation_steps: in how many parts a replica takes its share of a batch, to save memory.
        clip_norm: bound on the gradient's global norm, or None.
    """

    program: ClassVar[str] = "finetune"

    num_trainable_layers: float | None = None
    relative_position_bias: str | None = None
    min_learning_rate: float = 1e-6
    weight_decay: float = 0.05
    beta_2: float = 0.999
    layer_decay: float | None = 0.65
    drop_path_rate: float = 0.1
    label_smoothing: float = 0.1
    mixup: float = 0.8
    cutmix: float = 1.0
    rand_augment: tuple[float, float] | None = (9.0, 0.5)
    random_erasing: float = 0.25
    accumulation_steps: int = 1
    clip_norm: float | None = None
