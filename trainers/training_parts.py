"""The parts of a config that all programs have alike: data, optimizer, and how a run is computed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

from keras_mae.trainers.ranges import (
    AtLeast0,
    Count,
    DtypePolicy,
    Level,
    Megapixels,
    Range,
    Rate,
    Seed,
    ShareAbove0,
)

if TYPE_CHECKING:
    from keras_mae.data import Augmentation, Decoding, FineTuningAugmentation


@dataclasses.dataclass(frozen=True)
class DecodedData:
    """Images as they are decoded.

    Attributes:
        background: what is seen through transparent pixels: a gray level in [0, 255].
        max_megapixels: images of more are refused before they are decoded, in millions of pixels.
    """

    background: Level = 255
    max_megapixels: Megapixels = 100.0

    def decoding(self) -> Decoding:
        """How files become pixels."""
        from keras_mae.data import Decoding

        return Decoding(round(self.max_megapixels * 1e6), self.background)


@dataclasses.dataclass(frozen=True)
class CroppedData(DecodedData):
    """Images to train on, cropped and mirrored at random.

    Attributes:
        crop_scale: area of the random resized crop, as shares of the image's: smallest and largest; None for no crop.
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
        """What is done to an image."""
        from keras_mae.data import Augmentation

        return Augmentation(self.crop_scale, self.flip, self.crop_ratio)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Batches, steps and learning rate.

    Attributes:
        epochs: passes over the images.
        warmup_epochs: of these, how many the learning rate takes to rise from 0.
        batch_size: images in a step, of all devices together.
        base_learning_rate: for 256 images; the peak is `base_learning_rate * batch_size / 256`.
        weight_decay: share of a weight that a step takes off it, times the learning rate; biases, norms and tokens are
            not decayed.
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


@dataclasses.dataclass(frozen=True)
class Run:
    """How a run is computed and kept.

    Attributes:
        dtype_policy: `float32`, `mixed_bfloat16` or `mixed_float16`.
        jit_compile: whether XLA compiles the step; None leaves it to Keras: yes with an accelerator, no without. On a
            processor it pays for small models.
        max_skipped_steps: so many steps in a row may be skipped because their loss or gradient is not finite.
        checkpoint_steps: steps between checkpoints within an epoch, or None; each epoch ends with one.
        checkpoint_minutes: minutes between checkpoints within an epoch, or None.
        check_memory: whether a run that needs more memory than there is is refused before it starts.
        seed: what every random number is a function of.
    """

    dtype_policy: DtypePolicy = "float32"
    jit_compile: bool | None = None
    max_skipped_steps: Count = 20
    checkpoint_steps: Count | None = None
    checkpoint_minutes: AtLeast0 | None = 15.0
    check_memory: bool = True
    seed: Seed = 0
