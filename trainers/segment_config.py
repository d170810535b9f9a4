"""The config of training a segmenter."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from keras_mae.trainers.classifier_config import FinetuneEncoder, FinetuneOptimizer
from keras_mae.trainers.ranges import Count, Positive, Range, Rate, Share
from keras_mae.trainers.settings import Config
from keras_mae.trainers.training_parts import DecodedData, Run

if TYPE_CHECKING:
    from keras_mae.data import JointAugmentation, Masks


@dataclasses.dataclass(frozen=True)
class SegmentHead:
    """The layers on top of the encoder, and the layers that are trained with them.

    Attributes:
        design: `linear`, a linear layer on the patch tokens, or `mask_transformer`, which draws finer edges.
        num_trainable_layers: None trains everything; `n` the last n blocks, the last norm and the head; 0.5 counts the
            MLP of the last block; 0 the head alone.
    """

    design: Literal["linear", "mask_transformer"] = "linear"
    num_trainable_layers: Annotated[float, Range(0, 1000)] | None = None


@dataclasses.dataclass(frozen=True)
class SegmentData(DecodedData):
    """Images with masks, scaled, cropped and mirrored at random together.

    Attributes:
        validation_data: images to test on; None for the data's own validation split.
        num_classes: None for as many as the class names, or without these the masks have.
        class_names: a text file, a name for each class on a line of its own; None for numbers.
        ignore_index: the number in masks of a pixel without label; None if every number is a class.
        reduce_zero_label: whether 0 in masks is a pixel without label, too, and 1 the first class, as in ADE20K.
        scale: bounds of a random factor of an image's size, of which 1 is as large as just covers `image_size`, the
            size of the crop; None to resize images to `image_size` whatever their aspect.
        flip: whether half of the images are mirrored.
        jitter: largest relative change of an image's brightness, contrast and saturation; 0 for none.
        evaluation: how whole images are tested: `resize`, resized to `image_size`, or `slide`, as large as just covers
            it, in windows that overlap by a third, whose logits are averaged.
    """

    validation_data: str | None = None
    num_classes: Annotated[int, Range(2, 4096)] | None = None
    class_names: str | None = None
    ignore_index: Annotated[int, Range(0, 65_535)] | None = 255
    reduce_zero_label: bool = False
    scale: tuple[Positive, Positive] | None = (0.5, 2.0)
    flip: bool = True
    jitter: Share = 0.4
    evaluation: Literal["resize", "slide"] = "resize"

    @property
    def crop_ratio(self) -> float:
        """The whole of an image is used."""
        return 1.0

    def masks(self) -> Masks:
        """What the numbers in masks mean, for any number of classes."""
        from keras_mae.data import Masks

        return Masks(self.ignore_index, self.reduce_zero_label, self.num_classes)

    def build(self, fill: tuple[float, ...] | None) -> JointAugmentation:
        """The augmentation of an image and its mask; `fill` is the level outside of the image."""
        from keras_mae.data import JointAugmentation

        return JointAugmentation(self.scale, self.flip, self.jitter, fill)


@dataclasses.dataclass(frozen=True)
class SegmentOptimizer(FinetuneOptimizer):
    """AdamW with layer-wise learning-rate decay.

    Attributes:
        stop_after: patience of early stopping: epochs without a better mean IoU, or an equal one at a lower loss; None
            for no early stopping.
    """

    warmup_epochs: Annotated[float, Range(0, 1_000_000)] = 1.2
    batch_size: Annotated[int, Range(1, 2**24)] = 16
    base_learning_rate: Rate = 1.6e-3
    min_learning_rate: Annotated[float, Range(0, 1000)] = 0.0
    stop_after: Count | None = None


@dataclasses.dataclass(frozen=True)
class SegmentConfig(Config):
    """A run that trains an `ImageSegmenter`. The defaults are those for ViT-B/16 on ADE20K, see `segment_vit_base`.

    Attributes:
        encoder: of the segmenter.
        head: the layers on top.
        data: how images and masks are decoded and augmented, and whole images tested.
        optimizer: batches, steps and learning rate.
        run: how the run is computed and saved.
    """

    program: ClassVar[str] = "segment"

    encoder: FinetuneEncoder = FinetuneEncoder()
    head: SegmentHead = SegmentHead()
    data: SegmentData = SegmentData()
    optimizer: SegmentOptimizer = SegmentOptimizer()
    run: Run = Run()
