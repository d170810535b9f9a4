"""What fine-tuning and linear probing have in common."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from keras_mae.trainers.ranges import (
    AtLeast0,
    Count,
    DtypePolicy,
    Layers,
    Level,
    Megapixels,
    Pixels,
    Pooling,
    Positive,
    Preset,
    Range,
    Rate,
    Seed,
    Share,
    ShareAbove0,
    check_fields,
)


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """A run that trains an `ImageClassifier`.

    Attributes:
        run: where the encoder comes from: the folder of a pretraining run, or a `.keras` file; None for fresh weights.
        validation_data: what it is tested on, if not the data's own validation split.
        preset: the encoder's size, such as `vit_base_patch16`. This and the eight below are the run's if None; what is
            given here and differs there is an error, but for `image_size`, for which positions are resized. Without a
            run the preset is needed, and None stands for its sizes.
        image_size: height and width of the images that the model sees, in pixels.
        channels: how many the images are read with.
        patch_size: height and width of a patch in pixels.
        hidden_dim, num_layers, num_heads: in place of the preset's.
        position_temperature: of the sin-cos position embeddings, see `ViTEncoder`.
        mean, std: pixel normalisation, a number a channel.
        pooling: `mean` of the patch tokens, or `cls`, the class token.
        num_classes: None for as many as the data has.
        labels_per_class: None, or train on so many images of each class, which the seed chooses.
        epochs: passes over the images.
        warmup_epochs: of these, how many the learning rate takes to rise from 0.
        batch_size: images in a step.
        base_learning_rate: for 256 images; the peak is `base_learning_rate * batch_size / 256`.
        min_learning_rate: at the end of the schedule.
        weight_decay: of the optimizer.
        crop_scale: area of the random resized crop, as shares of the image's; None for no random crop.
        flip: whether half of the images are mirrored.
        crop_ratio: of the evaluation transform: images are scaled to `image_size / crop_ratio`, then cut.
        background: what is seen through transparent pixels: a gray level in [0, 255].
        max_megapixels: images of more are refused before they are decoded.
        stop_after: None, or end the run after so many epochs without a better validation accuracy, or an equal one at a
            lower loss.
        dtype_policy: `float32`, `mixed_bfloat16` or `mixed_float16`.
        jit_compile: whether XLA compiles the step; None leaves it to Keras: yes with an accelerator, no without.
        max_skipped_steps: so many steps in a row may be skipped because their loss or gradient is not finite.
        checkpoint_steps, checkpoint_minutes: steps and minutes between checkpoints within an epoch, or None; each
            epoch ends with one.
        check_memory: whether a run that needs more memory than there is is refused before it starts.
        seed: what every random number is a function of.
    """

    run: str | None = None
    validation_data: str | None = None
    preset: Preset | None = None
    image_size: tuple[Pixels, Pixels] | None = None
    channels: Pixels | None = None
    patch_size: tuple[Pixels, Pixels] | None = None
    hidden_dim: Pixels | None = None
    num_layers: Layers | None = None
    num_heads: Pixels | None = None
    position_temperature: Positive | None = None
    mean: tuple[Share, ...] | None = None
    std: tuple[ShareAbove0, ...] | None = None
    pooling: Pooling = "mean"
    num_classes: Annotated[int, Range(2, 1_000_000)] | None = None
    labels_per_class: Count | None = None
    epochs: Count = 100
    warmup_epochs: Annotated[float, Range(0, 1_000_000)] = 5.0
    batch_size: Annotated[int, Range(1, 2**24)] = 1024
    base_learning_rate: Rate = 5e-4
    min_learning_rate: Annotated[float, Range(0, 1000)] = 0.0
    weight_decay: Annotated[float, Range(0, 1000)] = 0.0
    crop_scale: tuple[ShareAbove0, ShareAbove0] | None = (0.08, 1.0)
    flip: bool = True
    crop_ratio: ShareAbove0 = 0.875
    background: Level = 255
    max_megapixels: Megapixels = 100.0
    stop_after: Count | None = None
    dtype_policy: DtypePolicy = "float32"
    jit_compile: bool | None = None
    max_skipped_steps: Count = 20
    checkpoint_steps: Count | None = None
    checkpoint_minutes: AtLeast0 | None = 15.0
    check_memory: bool = True
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up, by the linear scaling rule."""
        return self.base_learning_rate * self.batch_size / 256
