"""Mixup and cutmix of batches, with soft labels."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from keras_mae.example_seed import ExampleSeed, Purpose
from keras_mae.layers import pixel_levels

_TRIES = 32


def mix_batch(
    images,
    labels,
    num_classes: int,
    seed: int,
    step,
    mixup: float = 0.8,
    cutmix: float = 1.0,
    label_smoothing: float = 0.1,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes each image of a batch with its counterpart from the end: image i with image B - 1 - i.

    Mixup blends the two, `m a + (1 - m) b`; cutmix pastes a rectangle of b, of `1 - m` of the area, into a. The share
    `m` is drawn once a batch, from a beta distribution; with both, a fair coin decides for each batch. Labels are
    smoothed and mixed by the same share (for cutmix: by the area that was really pasted). Several labels an image are
    smoothed each: a label moves to one half by the share `label_smoothing`.

    The draws are a function of (seed, step), and shapes are static: it works in `tf.data`, in a train step and under
    XLA, and every replica or host of a step draws the same share and rectangle.

    Args:
        images: `(B, H, W, C)` of static height and width, uint8 or float in [0, 255], or uint16 in [0, 65535].
        labels: integers `(B,)`; or floats `(B, num_classes)` in [0, 1], several labels an image.
        num_classes: the number of classes, or of labels.
        seed: int.
        step: integer scalar, the number of the batch.
        mixup, cutmix: both parameters of the beta distribution; 0 for none.
        label_smoothing: the share of every label that is spread evenly over all classes.

    Returns:
        float32 images `(B, H, W, C)` and float32 labels `(B, num_classes)`; those of classes sum to 1.

    Reference: arXiv 1710.09412, 1905.04899; arXiv 2111.06377, table 9.
    """
    if not (mixup >= 0 and cutmix >= 0 and num_classes > 0 and 0 <= label_smoothing < 1):
        given = f"mixup={mixup}, cutmix={cutmix}, num_classes={num_classes}, label_smoothing={label_smoothing}"
        raise ValueError(f"mixup and cutmix are at least 0, num_classes is above 0, smoothing in [0, 1); got {given}")
    images, labels = pixel_levels(images), tf.convert_to_tensor(labels)
    if labels.shape.rank == 2:
        targets = tf.cast(labels, tf.float32) * (1 - label_smoothing) + label_smoothing / 2
    else:
        targets = tf.one_hot(labels, num_classes) * (1 - label_smoothing) + label_smoothing / num_classes
    if not mixup and not cutmix:
        return images, targets
    draws = ExampleSeed.of(seed, step).fold_in(Purpose.MIXING)
    choice, row, column = tf.unstack(draws.uniform(1, (3,))[0])
    use_cutmix = choice < (0.5 if mixup and cutmix else float(bool(cutmix)))
    share = tf.where(use_cutmix, _beta(cutmix or 1.0, draws.fold_in(0)), _beta(mixup or 1.0, draws.fold_in(1)))
    height, width = images.shape[1:3]
    pasted = _rectangle(height, width, 1 - share, row, column)
    share = tf.where(use_cutmix, 1 - tf.reduce_mean(pasted), share)
    weight = tf.where(use_cutmix, 1 - pasted, share)[..., None]  # of the image itself, per pixel
    mixed = weight * images + (1 - weight) * images[::-1]
    return mixed, share * targets + (1 - share) * targets[::-1]


@dataclasses.dataclass(frozen=True)
class Mixing:
    """A transform of `TrainingData` with labels: applies `mix_batch` to every batch.

    Images become float32, of four times the bytes of uint8; `mix_batch` in the train step keeps them small. Each of
    several hosts mixes within its own share of a batch, so the pairs depend on their number.

    Attributes:
        num_classes, mixup, cutmix, label_smoothing: see `mix_batch`.
    """

    num_classes: int
    mixup: float = 0.8
    cutmix: float = 1.0
    label_smoothing: float = 0.1

    def __call__(self, batches: tf.data.Dataset, seed: int, step: int) -> tf.data.Dataset:
        def mix(number, batch):
            place, shares = (seed, number), (self.mixup, self.cutmix, self.label_smoothing)
            images, labels = mix_batch(batch["image"], batch["label"], self.num_classes, *place, *shares)
            return {**batch, "image": images, "label": labels}

        return batches.enumerate(step).map(mix, tf.data.AUTOTUNE)


def _rectangle(height: int, width: int, area, row, column) -> tf.Tensor:
    """Returns 1 in a rectangle of this share of the area and the image's aspect, around a point, cut at the border."""
    half = tf.sqrt(area) / 2
    rows = (tf.range(height, dtype=tf.float32) + 0.5) / height
    columns = (tf.range(width, dtype=tf.float32) + 0.5) / width
    inside = (tf.abs(rows - row) < half)[:, None] & (tf.abs(columns - column) < half)
    return tf.cast(inside, tf.float32)


def _beta(parameter: float, seed: ExampleSeed) -> tf.Tensor:
    """Draws from Beta(parameter, parameter) by Jöhnk's method, which needs uniform numbers only.

    The first pair of x = u^(1/a), y = v^(1/a) with x + y <= 1 gives x / (x + y). None of 32 pairs fits with a
    probability below 1e-9 for parameters up to 1; the draw then is 1/2.
    """
    x, y = tf.unstack(seed.uniform(1, (2, _TRIES))[0] ** (1 / parameter))
    fits = (x + y <= 1) & (x + y > 0)
    first = tf.argmax(fits)
    return tf.where(tf.reduce_any(fits), x[first] / tf.maximum(x[first] + y[first], 1e-30), 0.5)
