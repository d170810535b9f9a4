"""What a fine-tuning run is made of."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

from keras_mae.trainers.classifier_config import ClassifierConfig
from keras_mae.trainers.ranges import AtLeast0, Count, Magnitude, Positive, Range, Share, ShareAbove0, ShareBelow1


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

    num_trainable_layers: Annotated[float, Range(0, 1000)] | None = None
    relative_position_bias: Literal["per_block"] | None = None
    min_learning_rate: Annotated[float, Range(0, 1000)] = 1e-6
    weight_decay: Annotated[float, Range(0, 1000)] = 0.05
    beta_2: ShareBelow1 = 0.999
    layer_decay: ShareAbove0 | None = 0.65
    drop_path_rate: ShareBelow1 = 0.1
    label_smoothing: ShareBelow1 = 0.1
    mixup: AtLeast0 = 0.8
    cutmix: AtLeast0 = 1.0
    rand_augment: tuple[Magnitude, Magnitude] | None = (9.0, 0.5)
    random_erasing: Share = 0.25
    accumulation_steps: Count = 1
    clip_norm: Positive | None = None
