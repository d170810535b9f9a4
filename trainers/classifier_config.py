"""What fine-tuning and linear probing are made of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from keras_mae.trainers.ranges import (
    AtLeast0,
    Count,
    Layers,
    Magnitude,
    Pooling,
    Positive,
    Preset,
    Range,
    Rate,
    Share,
    ShareAbove0,
    ShareBelow1,
    Size,
)
from keras_mae.trainers.settings import Config
from keras_mae.trainers.training_parts import CroppedData, Optimizer, Run

if TYPE_CHECKING:
    from keras_mae.data import Augmentation, FineTuningAugmentation
    from keras_mae.optimizers import LARS, AdamW, WarmupCosine


@dataclasses.dataclass(frozen=True)
class TrainedEncoder:
    """A trained encoder, or one of fresh weights.

    What is None is the run's; what is given and differs there is an error, but for `image_size`, for which positions
    are resized. Without a run the preset is needed, and None stands for its sizes.

    Attributes:
        run: where it comes from: the folder of a pretraining run, or a `.keras` file; None for fresh weights.
        preset: its size, such as `vit_base_patch16`.
        image_size: height and width of the images that the model sees, in pixels.
        channels: how many the images are read with.
        patch_size: height and width of a patch, in pixels.
        hidden_dim: numbers in a token, in place of the preset's.
        num_layers: transformer blocks, in place of the preset's.
        num_heads: attention heads of a block, in place of the preset's.
        position_temperature: of sin-cos positions: the longest wave spans 2 pi times as many patches.
        mean: of the pixels, a number in [0, 1] for each channel.
        std: of the pixels, as `mean`.
    """

    run: str | None = None
    preset: Preset | None = None
    image_size: tuple[Size, Size] | None = None
    channels: Size | None = None
    patch_size: tuple[Size, Size] | None = None
    hidden_dim: Size | None = None
    num_layers: Layers | None = None
    num_heads: Size | None = None
    position_temperature: Positive | None = None
    mean: tuple[Share, ...] | None = None
    std: tuple[ShareAbove0, ...] | None = None


@dataclasses.dataclass(frozen=True)
class LabelledData(CroppedData):
    """Images with labels, cropped and mirrored at random.

    Attributes:
        validation_data: what it is tested on, if not the data's own validation split.
        num_classes: None for as many as the data has.
        labels_per_class: None, or train on so many images of each class, which the seed chooses.
    """

    crop_scale: tuple[ShareAbove0, ShareAbove0] | None = (0.08, 1.0)
    validation_data: str | None = None
    num_classes: Annotated[int, Range(2, 1_000_000)] | None = None
    labels_per_class: Count | None = None


@dataclasses.dataclass(frozen=True)
class ClassifierOptimizer(Optimizer):
    """Half a cosine after the warm-up.

    Attributes:
        min_learning_rate: at the end of the schedule.
        stop_after: None, or end the run after so many epochs without a better validation accuracy, or an equal one at
            a lower loss.
    """

    min_learning_rate: Annotated[float, Range(0, 1000)] = 0.0
    stop_after: Count | None = None

    def schedule(self, steps: int) -> WarmupCosine:
        """The learning rate by step, for an epoch of so many steps.

        Raises:
            ValueError: if the warm-up is not shorter than the run.
        """
        from keras_mae.optimizers import WarmupCosine

        warmup = round(self.warmup_epochs * steps)
        return WarmupCosine(self.peak_learning_rate, warmup, self.epochs * steps, self.min_learning_rate)


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(Config):
    """A run that trains an `ImageClassifier`.

    Attributes:
        encoder: whose features are told apart.
        data, optimizer, run: what is done to the images, how the weights are learned, how it is computed.
    """

    encoder: TrainedEncoder = TrainedEncoder()
    data: LabelledData = LabelledData()
    optimizer: ClassifierOptimizer = ClassifierOptimizer()
    run: Run = Run()


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


@dataclasses.dataclass(frozen=True)
class ProbeHead:
    """The linear layer, on the tokens of one layer.

    Attributes:
        pooling: what it sees: `mean` of the patch tokens, or `cls`, the class token.
        layer: None for the encoder's output, or the layer whose tokens are probed, counted from 1.
    """

    pooling: Pooling = "cls"
    layer: Layers | None = None


@dataclasses.dataclass(frozen=True)
class ProbeOptimizer(ClassifierOptimizer):
    """LARS.

    Attributes:
        momentum: share of the last step that is taken again.
    """

    epochs: Count = 90
    warmup_epochs: Annotated[float, Range(0, 1_000_000)] = 10.0
    batch_size: Annotated[int, Range(1, 2**24)] = 16384
    base_learning_rate: Rate = 0.1
    weight_decay: Annotated[float, Range(0, 1000)] = 0.0
    momentum: ShareBelow1 = 0.9

    def build(self, model: Any, steps: int) -> LARS:
        """The optimizer of a model, for an epoch of so many steps; errors as `schedule`."""
        from keras_mae.optimizers import LARS

        return LARS(self.schedule(steps), self.momentum, self.weight_decay)


@dataclasses.dataclass(frozen=True)
class ProbeConfig(ClassifierConfig):
    """A linear probe of a frozen encoder. The defaults are the paper's for ViT-B/16 (arXiv 2111.06377, table 10).

    Without random crop and flip the features are computed once, and the probe trains on them.
    """

    program: ClassVar[str] = "linear-probe"

    head: ProbeHead = ProbeHead()
    optimizer: ProbeOptimizer = ProbeOptimizer()
