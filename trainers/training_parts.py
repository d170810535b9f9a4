"""The parts of a config that several programs share: data, optimizer, and run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

from keras_mae.trainers.ranges import (
    AtLeast0,
    Channel,
    Count,
    DtypePolicy,
    Level,
    Megapixels,
    Positive,
    Range,
    Rate,
    Seed,
    ShareAbove0,
    ShareBelow1,
    SpikeAction,
    Task,
    Tracker,
    WeightsFormat,
)

if TYPE_CHECKING:
    from keras_mae.data import Augmentation, Decoding, FineTuningAugmentation
    from keras_mae.optimizers import AdamW, WarmupCosine, WarmupMultiStep


@dataclasses.dataclass(frozen=True)
class DecodedData:
    """Decoded images.

    Attributes:
        background: gray level behind transparent pixels, in [0, 255].
        max_megapixels: limit on the size of an image, in millions of pixels; larger ones are not decoded.
    """

    background: Level = 255
    max_megapixels: Megapixels = 100.0

    def decoding(self) -> Decoding:
        """The rules of decoding."""
        from keras_mae.data import Decoding

        return Decoding(round(self.max_megapixels * 1e6), self.background)


@dataclasses.dataclass(frozen=True)
class CroppedData(DecodedData):
    """Images to train on, cropped and mirrored at random.

    Attributes:
        crop_scale: smallest and largest area of the random resized crop, as shares of the image's; None for no crop.
        flip: whether half of the images are mirrored.
        crop_ratio: of the evaluation transform: images are scaled to `image_size / crop_ratio`, then cut.
    """

    crop_scale: tuple[ShareAbove0, ShareAbove0] | None = (0.2, 1.0)
    flip: bool = True
    crop_ratio: ShareAbove0 = 0.875

    @property
    def is_fixed(self) -> bool:
        """Whether an image looks the same in every epoch."""
        return self.crop_scale is None and not self.flip

    def build(self) -> Augmentation | FineTuningAugmentation:
        """The augmentation of an image."""
        from keras_mae.data import Augmentation

        return Augmentation(self.crop_scale, self.flip, self.crop_ratio, getattr(self, "jitter", 0.0))


@dataclasses.dataclass(frozen=True)
class Split:
    """The images to train on and those to test on.

    Attributes:
        validation_data: images to test on; None for the data's own validation split, or a part of the data.
        validation_share: share of the images to test on; None for a tenth, or what `folds` or `split_column` say.
        folds: number of equal parts, of which one is tested on; None for no parts.
        fold: the part to test on, counted from 0.
        split_seed: of the choice of the images to test on.
        split_column: column of the labels that says which images are tested on; None for a choice by chance.
        validation_values: values in that column of the images to test on, such as `3` or `3,4`; all others are trained
            on. None understands `train`, `val`, `test` and their like.
        group_column: column of the labels whose equal values belong together, such as a patient's: all images of a
            group are trained on, or all are tested on. None for images that are independent.
    """

    validation_data: str | None = None
    validation_share: Annotated[float, Range(0, 1, without=(0, 1))] | None = None
    folds: Annotated[int, Range(2, 1000)] | None = None
    fold: Annotated[int, Range(0, 999)] = 0
    split_seed: Seed = 0
    split_column: str | None = None
    validation_values: str | None = None
    group_column: str | None = None


@dataclasses.dataclass(frozen=True)
class Labels(Split):
    """The labels of images, the images to train on, and those to test on.

    Attributes:
        labels: table of labels, a CSV or Parquet file with a row for each image; None for those that the data have.
        image_column: the table's column with the images' names; None for the one called image, file, path or the like.
        label_columns: columns of the labels, such as `age` or `age,weight`: of the table, or features or arrays that
            the data have beside the images. None for the only one, or all.
        validation_labels: table of labels of the images of `validation_data`; None for the same.
        task: what the labels are: `classes`, of which an image has one, `labels`, of which it may have several, each 0
            or 1, or `numbers`.
        num_classes: None for as many as the data has.
        labels_per_class: number of images of each class to train on, which the seed chooses; None for all.
    """

    labels: str | None = None
    image_column: str | None = None
    label_columns: str | None = None
    validation_labels: str | None = None
    task: Task = "classes"
    num_classes: Annotated[int, Range(2, 1_000_000)] | None = None
    labels_per_class: Count | None = None


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights to begin with.

    Attributes:
        init: weights to begin with: the name of published ones, a file, a URL, `hf://OWNER/NAME`, or the folder of a
            run; None for fresh ones.
        init_format: format of that file, such as `timm`; None finds it out.
        init_prefix: prefix of the weights to take from a file with several sets, such as `teacher.backbone.`; None
            takes the one set, or of several the first that is no average.
        init_channels: for each channel of the images, the channel of the file whose weights it gets, counted from 0, or
            None for their mean over the file's channels; None for the mean in all, if the file has other channels.
    """

    init: str | None = None
    init_format: WeightsFormat | None = None
    init_prefix: str | None = None
    init_channels: tuple[Channel | None, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Batches, steps and learning rate.

    Attributes:
        epochs: passes over the images.
        warmup_epochs: epochs in which the learning rate rises linearly from 0.
        batch_size: images in a step, on all devices together.
        base_learning_rate: for 256 images; the peak is `base_learning_rate * batch_size / 256`.
        weight_decay: decoupled weight decay, times the learning rate; biases, norms and tokens have none.
    """

    epochs: Count = 100
    warmup_epochs: Annotated[float, Range(0, 1_000_000)] = 5.0
    batch_size: Annotated[int, Range(1, 2**24)] = 1024
    base_learning_rate: Rate = 5e-4
    weight_decay: Annotated[float, Range(0, 1000)] = 0.05

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up, by the linear scaling rule."""
        return self.base_learning_rate * self.batch_size / 256

    def schedule(self, steps: int) -> WarmupCosine | WarmupMultiStep:
        """The learning rate by step; `steps` is the number of steps in an epoch.

        Raises:
            ValueError: if the settings of the schedule do not go together.
        """
        from keras_mae.optimizers import WarmupCosine

        warmup, minimum = round(self.warmup_epochs * steps), getattr(self, "min_learning_rate", 0.0)
        return WarmupCosine(self.peak_learning_rate, warmup, self.epochs * steps, minimum)


@dataclasses.dataclass(frozen=True)
class AdamWOptimizer(Optimizer):
    """AdamW.

    Attributes:
        beta_2: decay rate of the second moment.
        accumulation_steps: parts in which a replica computes its share of a batch, to save memory.
        clip_norm: bound on the gradient's global norm; None for no clipping.
        spike_factor: multiple of the median norm of the last 64 gradients above which a gradient's norm is a spike;
            None for no spikes.
        spike_action: of a step with a spike: `skip`, or `clip` to that multiple.
    """

    beta_2: ShareBelow1 = 0.999
    accumulation_steps: Count = 1
    clip_norm: Positive | None = None
    spike_factor: Annotated[float, Range(1, 1_000_000_000, without=(1,))] | None = None
    spike_action: SpikeAction = "skip"

    def build(self, model: Any, steps: int) -> AdamW:
        """The optimizer of a model; `steps` and errors as for `schedule`."""
        from keras_mae.optimizers import adamw

        layer_decay, frozen_epochs = (getattr(self, name, None) for name in ("layer_decay", "frozen_epochs"))
        frozen, rising = round((frozen_epochs or 0) * steps), round(self.warmup_epochs * steps)
        return adamw(model, self.schedule(steps), self.weight_decay, self.beta_2, layer_decay, frozen, rising)


@dataclasses.dataclass(frozen=True)
class Run:
    """Computation and files of a run.

    Attributes:
        dtype_policy: `float32`, `mixed_bfloat16` or `mixed_float16`; `auto` for the one in which the devices compute
            fastest.
        jit_compile: whether XLA compiles the step; None leaves it to Keras: yes with an accelerator, no without. On a
            processor it speeds up small models. If XLA fails, steps run uncompiled, and a line says why.
        steps_per_execution: steps in one call of TensorFlow; more than 1 saves the time between small steps, on TPUs
            most. Checkpoints, and whatever else follows a step, come after a whole call.
        max_skipped_steps: limit on consecutive steps that are skipped because loss or gradient is not finite.
        checkpoint_steps: steps between checkpoints within an epoch, or None; each epoch ends with one.
        checkpoint_minutes: minutes between checkpoints within an epoch, or None.
        check_memory: whether a run that needs more memory than there is is refused before it starts.
        tracker: what follows the run beside the run folder: `mlflow`, `wandb`, or `tensorboard` for its files alone.
        seed: of every random number.
    """

    dtype_policy: DtypePolicy = "auto"
    jit_compile: bool | None = None
    steps_per_execution: Annotated[int, Range(1, 64)] = 1  # `StepRecord` knows the last 64 steps
    max_skipped_steps: Count = 20
    checkpoint_steps: Count | None = None
    checkpoint_minutes: AtLeast0 | None = 15.0
    check_memory: bool = True
    tracker: Tracker = "tensorboard"
    seed: Seed = 0
