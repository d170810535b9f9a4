"""What fine-tuning and linear probing have in common."""

from __future__ import annotations

import dataclasses


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
        seed: what every random number is a function of.
    """

    run: str | None = None
    validation_data: str | None = None
    preset: str | None = None
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    patch_size: tuple[int, int] | None = None
    hidden_dim: int | None = None
    num_layers: int | None = None
    num_heads: int | None = None
    position_temperature: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    pooling: str = "mean"
    num_classes: int | None = None
    labels_per_class: int | None = None
    epochs: int = 100
    warmup_epochs: float = 5.0
    batch_size: int = 1024
    base_learning_rate: float = 5e-4
    min_learning_rate: float = 0.0
    weight_decay: float = 0.0
    crop_scale: tuple[float, float] | None = (0.08, 1.0)
    flip: bool = True
    crop_ratio: float = 0.875
    background: int = 255
    max_megapixels: float = 100.0
    stop_after: int | None = None
    dtype_policy: str = "float32"
    jit_compile: bool | None = None
    max_skipped_steps: int = 20
    checkpoint_steps: int | None = None
    checkpoint_minutes: float | None = 15.0
    seed: int = 0

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up, by the linear scaling rule."""
        return self.base_learning_rate * self.batch_size / 256
