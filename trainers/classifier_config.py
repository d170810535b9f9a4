"""What fine-tuning and linear probing have in common."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

from keras_mae.trainers.ranges import Count, Layers, Positive, Preset, Range, Share, ShareAbove0, Size
from keras_mae.trainers.settings import Config
from keras_mae.trainers.training_parts import CroppedData, Optimizer, Run

if TYPE_CHECKING:
    from keras_mae.optimizers import WarmupCosine


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
