"""What a fine-tuning run is made of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from keras_mae.trainers.classifier_config import ClassifierConfig, ClassifierOptimizer, LabelledData, TrainedEncoder
from keras_mae.trainers.ranges import (
    AtLeast0,
    Count,
    Magnitude,
    Pooling,
    Positive,
    Range,
    Share,
    ShareAbove0,
    ShareBelow1,
)

if TYPE_CHECKING:
    from keras_mae.data import Augmentation, FineTuningAugmentation
    from keras_mae.optimizers import AdamW


@dataclasses.dataclass(frozen=True)
class FinetuneEncoder(TrainedEncoder):
    """The encoder to start from, or one of fresh weights.

    Attributes:
        relative_position_bias: None for the encoder's, or `per_block`: each block starts from a copy of the table that
            they shared, as in SimMIM.
        drop_path_rate: share of the examples whose last block is skipped; it grows linearly from 0 at the first.
    """

    relative_position_bias: Literal["per_block"] | None = None
    drop_path_rate: ShareBelow1 = 0.1


@dataclasses.dataclass(frozen=True)
class FinetuneHead:
    """The linear layer, and how much is trained with it.

    Attributes:
        pooling: what it sees: `mean` of the patch tokens, or `cls`, the class token.
        num_trainable_layers: None trains everything; `n` the last n blocks, the last norm and the head; 0.5 counts the
            MLP of the last block.
    """

    pooling: Pooling = "mean"
    num_trainable_layers: Annotated[float, Range(0, 1000)] | None = None


@dataclasses.dataclass(frozen=True)
class FinetuneData(LabelledData):
    """Images with labels, augmented and mixed at random.

    Attributes:
        label_smoothing: share of a label that is spread over all classes.
        mixup: parameter of the Beta distribution that the share of an image is drawn from; 0 for none.
        cutmix: the same for the share of its area.
        rand_augment: magnitude in [0, 10] and its standard deviation; None for none.
        random_erasing: probability that a rectangle of an image is erased.
    """

    label_smoothing: ShareBelow1 = 0.1
    mixup: AtLeast0 = 0.8
    cutmix: AtLeast0 = 1.0
    rand_augment: tuple[Magnitude, Magnitude] | None = (9.0, 0.5)
    random_erasing: Share = 0.25

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, which smooths their labels, too."""
        return self.mixup > 0 or self.cutmix > 0

    def build(self) -> Augmentation | FineTuningAugmentation:
        """What is done to an image, before it is mixed."""
        from keras_mae.data import FineTuningAugmentation, RandAugment

        if self.rand_augment is None and not self.random_erasing:
            return super().build()
        policy = None if self.rand_augment is None else RandAugment(*self.rand_augment)
        geometry = (self.crop_scale, self.flip, self.crop_ratio)
        return FineTuningAugmentation(*geometry, rand_augment=policy, erasing=self.random_erasing)


@dataclasses.dataclass(frozen=True)
class FinetuneOptimizer(ClassifierOptimizer):
    """AdamW.

    Attributes:
        beta_2: factor of the second moment from a step to the next.
        layer_decay: factor of the learning rate from a layer to the one below; None for one rate.
        accumulation_steps: in how many parts a replica takes its share of a batch, to save memory.
        clip_norm: bound on the gradient's global norm, or None.
    """

    min_learning_rate: Annotated[float, Range(0, 1000)] = 1e-6
    beta_2: ShareBelow1 = 0.999
    layer_decay: ShareAbove0 | None = 0.65
    accumulation_steps: Count = 1
    clip_norm: Positive | None = None

    def build(self, model: Any, steps: int) -> AdamW:
        """The optimizer of a model, for an epoch of so many steps; errors as `schedule`."""
        from keras_mae.optimizers import adamw

        return adamw(model, self.schedule(steps), self.weight_decay, self.beta_2, self.layer_decay)


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(ClassifierConfig):
    """A fine-tuning run. The defaults are the paper's recipe for ViT-B/16 (arXiv 2111.06377, table 9)."""

    program: ClassVar[str] = "finetune"

    encoder: FinetuneEncoder = FinetuneEncoder()
    head: FinetuneHead = FinetuneHead()
    data: FinetuneData = FinetuneData()
    optimizer: FinetuneOptimizer = FinetuneOptimizer()
