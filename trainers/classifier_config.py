"""The configs of fine-tuning and linear probing."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from keras_mae.trainers.ranges import (
    AtLeast0,
    Count,
    HeadPooling,
    Layers,
    Magnitude,
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
from keras_mae.trainers.training_parts import AdamWOptimizer, CroppedData, Labels, Optimizer, Run, Weights

if TYPE_CHECKING:
    from keras_mae.data import Augmentation, FineTuningAugmentation
    from keras_mae.optimizers import LARS


@dataclasses.dataclass(frozen=True)
class TrainedEncoder(Weights):
    """A trained encoder, or one of fresh weights.

    With a run or `init`, None stands for the value there, and another value is an error, but for `image_size`:
    positions are resized for it. With published weights, `channels`, `mean` and `std` may be others, too. Without
    weights a preset is needed, and None stands for its sizes.

    Attributes:
        run: the folder of a pretraining run, or a `.keras` file; None for fresh weights.
        preset: named sizes, such as `vit_base_patch16`.
        image_size: height and width of the model's images, in pixels.
        channels: number of channels of the images.
        patch_size: height and width of a patch, in pixels.
        hidden_dim: width of a token.
        num_layers: number of transformer blocks.
        num_heads: attention heads of a block.
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

    def arguments(self) -> dict[str, Any]:
        """The arguments of `ViTEncoder.from_preset` beside the preset, for fresh weights."""
        names = ("patch_size", "hidden_dim", "num_layers", "num_heads", "position_temperature", "mean", "std")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {"image_shape": (*(self.image_size or (224, 224)), self.channels or 3), **given}


@dataclasses.dataclass(frozen=True)
class LabelledData(Labels, CroppedData):
    """Images with labels, cropped and mirrored at random.

    Attributes:
        balance: how rare classes are made up for: `weights` weighs the loss of an image by the inverse of its class's
            frequency, `sampling` repeats the images of rare classes; None for neither.
    """

    crop_scale: tuple[ShareAbove0, ShareAbove0] | None = (0.08, 1.0)
    balance: Literal["weights", "sampling"] | None = None


@dataclasses.dataclass(frozen=True)
class ClassifierOptimizer(Optimizer):
    """Half a cosine after the warm-up.

    Attributes:
        min_learning_rate: at the end of the schedule.
        stop_after: patience of early stopping: epochs without a better validation accuracy, or an equal one at a
            lower loss; None for no early stopping.
    """

    min_learning_rate: Annotated[float, Range(0, 1000)] = 0.0
    stop_after: Count | None = None


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(Config):
    """A run that trains an `ImageClassifier`.

    Attributes:
        encoder: of the classifier.
        data: how images are decoded, augmented and labelled.
        optimizer: batches, steps and learning rate.
        run: how the run is computed and saved.
    """

    encoder: TrainedEncoder = TrainedEncoder()
    data: LabelledData = LabelledData()
    optimizer: ClassifierOptimizer = ClassifierOptimizer()
    run: Run = Run()


@dataclasses.dataclass(frozen=True)
class FinetuneEncoder(TrainedEncoder):
    """The encoder to start from, or one of fresh weights.

    Attributes:
        relative_position_bias: None for the encoder's, or `per_block`: each block starts from a copy of the shared
            table, as in SimMIM.
        drop_path_rate: share of the examples that skip the last block; it grows linearly from 0 at the first block.
    """

    relative_position_bias: Literal["per_block"] | None = None
    drop_path_rate: ShareBelow1 = 0.1


@dataclasses.dataclass(frozen=True)
class FinetuneHead:
    """The linear layer, and the layers that are trained with it.

    Attributes:
        pooling: its input: `mean` of the patch tokens, `cls`, the class token, `both`, or `attentive`, of the patch
            tokens by learned queries.
        num_queries: of attentive pooling; must divide the width of a token.
        num_trainable_layers: None trains everything; `n` the last n blocks, the last norm and the head; 0.5 counts the
            MLP of the last block.
    """

    pooling: HeadPooling = "mean"
    num_queries: Count = 32
    num_trainable_layers: Annotated[float, Range(0, 1000)] | None = None


@dataclasses.dataclass(frozen=True)
class FinetuneData(LabelledData):
    """Images with labels, augmented and mixed at random.

    Attributes:
        label_smoothing: share of a label that is spread over all classes.
        mixup: parameter of the Beta distribution of an image's share; 0 for no mixup.
        cutmix: parameter of the Beta distribution of an image's share of the area; 0 for no CutMix.
        rand_augment: magnitude in [0, 10] and its standard deviation; None for no RandAugment.
        random_erasing: probability that a rectangle of an image is erased.
    """

    label_smoothing: ShareBelow1 = 0.1
    mixup: AtLeast0 = 0.8
    cutmix: AtLeast0 = 1.0
    rand_augment: tuple[Magnitude, Magnitude] | None = (9.0, 0.5)
    random_erasing: Share = 0.25

    @property
    def mixes(self) -> bool:
        """Whether images are mixed; mixing smooths their labels, too."""
        return self.mixup > 0 or self.cutmix > 0

    def build(self) -> Augmentation | FineTuningAugmentation:
        """The augmentation of an image, before it is mixed."""
        from keras_mae.data import FineTuningAugmentation, RandAugment

        if self.rand_augment is None and not self.random_erasing:
            return super().build()
        policy = None if self.rand_augment is None else RandAugment(*self.rand_augment)
        geometry = (self.crop_scale, self.flip, self.crop_ratio)
        return FineTuningAugmentation(*geometry, rand_augment=policy, erasing=self.random_erasing)


@dataclasses.dataclass(frozen=True)
class FinetuneOptimizer(AdamWOptimizer, ClassifierOptimizer):
    """AdamW with layer-wise learning-rate decay.

    Attributes:
        layer_decay: factor of the learning rate from a layer to the one below; None for one rate.
    """

    min_learning_rate: Annotated[float, Range(0, 1000)] = 1e-6
    layer_decay: ShareAbove0 | None = 0.65


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
        pooling: its input: `mean` of the patch tokens, `cls`, the class token, `both`, or `attentive`, of the patch
            tokens by learned queries.
        num_queries: of attentive pooling; must divide the width of a token.
        layer: whose tokens are probed, counted from 1; None for the encoder's output.
    """

    pooling: HeadPooling = "cls"
    num_queries: Count = 32
    layer: Layers | None = None


@dataclasses.dataclass(frozen=True)
class ProbeOptimizer(ClassifierOptimizer):
    """LARS.

    Attributes:
        momentum: share of the previous step in the next.
    """

    epochs: Count = 90
    warmup_epochs: Annotated[float, Range(0, 1_000_000)] = 10.0
    batch_size: Annotated[int, Range(1, 2**24)] = 16384
    base_learning_rate: Rate = 0.1
    weight_decay: Annotated[float, Range(0, 1000)] = 0.0
    momentum: ShareBelow1 = 0.9

    def build(self, model: Any, steps: int) -> LARS:
        """The optimizer of a model; `steps` and errors as for `schedule`."""
        from keras_mae.optimizers import LARS

        return LARS(self.schedule(steps), self.momentum, self.weight_decay)


@dataclasses.dataclass(frozen=True)
class ProbeConfig(ClassifierConfig):
    """A linear probe of a frozen encoder. The defaults are the paper's for ViT-B/16 (arXiv 2111.06377, table 10)."""

    program: ClassVar[str] = "linear-probe"

    head: ProbeHead = ProbeHead()
    optimizer: ProbeOptimizer = ProbeOptimizer()
