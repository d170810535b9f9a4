"""One step of a pretraining run, computed again: its images, and where numbers stop being finite."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.data import Source, TrainingData, open_source, sample_images
from keras_mae.data.sources import absolute
from keras_mae.example_seed import ExampleSeed
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.trainers import run
from keras_mae.trainers.checkpoints import newest_before, restore_state
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.first_weights import load_into
from keras_mae.trainers.not_finite import where_not_finite
from keras_mae.trainers.pretrain import FITTED_ON, build
from keras_mae.trainers.programs import compile_model, steps_per_epoch
from keras_mae.trainers.replay_picture import draw_batch
from keras_mae.trainers.settings import replaced
from keras_mae.trainers.step_lines import line_of, step_of
from keras_mae.training import StopOnSkippedSteps
from keras_mae.training.guarded_update import loss_scale
from keras_mae.training.step_record import Step

_log = logging.getLogger("keras_mae")
_ROUND_OFF = 1e-3
_TRIES = 3  # a run that goes on removes old checkpoints


@dataclasses.dataclass(frozen=True)
class BatchImage:
    """An image of the step's batch.

    Attributes:
        place: in the batch, counted from 0.
        index: in the data.
        name: of the image.
        loss: of this image alone.
        norm: of its part of the gradient.
    """

    place: int
    index: int
    name: str
    loss: float
    norm: float

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


@dataclasses.dataclass(frozen=True)
class Replay:
    """What a step was.

    Attributes:
        step: its loss and gradient norm.
        agreement: how these compare with those in the run's `steps.jsonl`.
        images: of the batch; those whose loss or gradient is not finite first, then by falling gradient norm.
        place: the first place where numbers are not finite; empty if all are.
        picture: path of the PNG.
    """

    step: Step
    agreement: str
    images: list[BatchImage]
    place: str
    picture: str


def replay(path: str, number: int, output: str | None = None) -> Replay:
    """Computes a step of a pretraining run again, from the nearest checkpoint before it; the run stays as it is.

    A step is a function of (weights, seed, step), so that the steps in between are those of the run. On another kind of
    machine, or another number of devices, they differ by round-off.

    Args:
        path: the run's folder; it may be running.
        number: of the step, counted from 1.
        output: the PNG to write; `replay/step_....png` in the run's folder if None.

    Raises:
        ValueError: for a folder without a pretraining run, a step that the run has not, or data that have changed.
    """
    folder = run.RunFolder(path)
    config, data = folder.config()
    if not isinstance(config, PretrainConfig):
        raise ValueError(f"{path} is a run of keras-mae {config.program}; replay needs one of pretrain")
    source = open_source(absolute(data, folder.directory()), decoding=config.data.decoding())
    there = folder.seen().get("num_images", source.num_images)
    if there != source.num_images:
        raise ValueError(f"the run has seen {there} images, and there are {source.num_images} now: put them back")
    picture = output or os.path.join(folder / run.REPLAY, f"step_{number:06d}.png")
    _check_writable(os.path.dirname(os.path.abspath(picture)))
    model, steps = _set_up(_absolute(config, folder), source, folder, number)
    total = config.optimizer.epochs * steps
    if not 1 <= number <= total:
        raise ValueError(f"the steps of this run are 1 to {total}, got {number}")
    images_at = TrainingData(
        source, model.encoder.image_shape, config.optimizer.batch_size, config.run.seed, config.data.build()
    )
    begin = _restored(model, folder, number)
    _log.info(
        "step %d of %d, in epoch %d of %d; %s: %s to compute",
        number, total, (number - 1) // steps + 1, config.optimizer.epochs,
        f"the nearest checkpoint before it is that of step {begin}" if begin else "from the run's first weights",
        "1 step" if number - begin == 1 else f"{number - begin} steps",
    )  # fmt: skip
    if begin < number - 1:
        _fit(model, images_at, begin, number - 1 - begin)

    images = next(iter(images_at.at(number - 1)))
    scale = float(loss_scale(model.optimizer))
    found = _each_image(model, images, images_at, source, number - 1, scale)
    place = _place(model, images, found, number - 1, scale)
    draw_batch(model, images, number - 1, found, source.dtype == "uint8", picture)
    step = _fit(model, images_at, number - 1, 1)
    return Replay(step, agreement(step, recorded(folder / run.STEPS, number)), found, place, picture)


def _check_writable(folder: str) -> None:
    """Refuses a folder that no picture can be written to, before minutes are spent on it."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ValueError(f"the picture cannot be written ({error}): name another file with --output") from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f"the picture cannot be written into {folder}: name another file with --output")


def _absolute(config: PretrainConfig, folder: run.RunFolder) -> PretrainConfig:
    """The config with paths of the directory in which the run began; names of published weights stay."""
    given = {"init": config.run.init, "tokenizer": getattr(config.target, "tokenizer", None)}
    paths = {name: os.path.join(folder.directory(), path) for name, path in given.items() if path is not None}
    return replaced(config, **{name: path for name, path in paths.items() if os.path.exists(path)})


def _set_up(config: PretrainConfig, source: Source, folder: run.RunFolder, number: int) -> tuple[MaskedImageModel, int]:
    """The run's model before its first step, or with weights that a checkpoint replaces; the steps in an epoch."""
    steps, shape = steps_per_epoch(config, source.num_images), config.encoder.image_shape
    first = config.run.init is not None and newest_before(folder / run.CHECKPOINTS, number) is None
    model = build(config)  # the run's config has what was found in the file of its first weights
    if first:
        load_into(model, config)
    compile_model(model, replaced(config, steps_per_execution=1), steps)
    model.optimizer.build(model.trainable_variables)
    if model.target.needs_fit:
        model.target.fit(sample_images(source, shape, FITTED_ON, config.data.crop_ratio))
    return model, steps


def _restored(model: MaskedImageModel, folder: run.RunFolder, number: int) -> int:
    """Restores the nearest checkpoint before a step; returns the number of steps it has seen, 0 if there is none."""
    for left in reversed(range(_TRIES)):
        nearest = newest_before(folder / run.CHECKPOINTS, number)
        if nearest is None:
            return 0
        try:
            restore_state(model, nearest)
            return int(model.batches_seen)
        except (OSError, tf.errors.OpError):
            if not left or os.path.exists(f"{nearest}.index"):
                raise
    return 0


class _Estimate(keras.callbacks.Callback):
    """Says once how long it will take."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps, self._begin = steps, 0.0

    def on_train_batch_end(self, batch, logs=None) -> None:
        if batch == 0:  # the first step compiles
            self._begin = time.perf_counter()
        elif batch == 1 and self._steps > 2:
            seconds = (time.perf_counter() - self._begin) * (self._steps - 2)
            _log.info("about %.0f s until the step", max(seconds, 1))


def _fit(model: MaskedImageModel, data: TrainingData, begin: int, count: int) -> Step:
    """Takes some steps as the run did; returns the last one."""
    callbacks = [StopOnSkippedSteps(None), _Estimate(count)]
    model.fit(data.at(begin), steps_per_epoch=count, shuffle=False, verbose=0, callbacks=callbacks)
    return model.step_record.since(begin + count - 1, begin + count)[0]


def _each_image(
    model: MaskedImageModel, images: tf.Tensor, data: TrainingData, source: Source, batch: int, scale: float
) -> list[BatchImage]:
    """Loss and gradient norm of each image alone, with its own mask and drop path; the worst first."""
    count = len(images)
    inner: Any = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    variables = [variable.value for variable in model.trainable_variables]

    @tf.function(autograph=False)
    def alone(image, place):
        with tf.GradientTape() as tape:
            loss = model.batch_loss(image, ExampleSeed.for_step(model.seed, batch, 1).skip(place), training=True)
            scaled = loss * (scale / count)  # as in the batch, where a number may be too large for float16
        gradients = tape.gradient(scaled, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        if hasattr(inner, "without_frozen"):
            gradients = inner.without_frozen(gradients)
        norm = tf.linalg.global_norm([tf.cast(gradient, tf.float32) for gradient in gradients])
        return loss, norm * (count / scale)

    before = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    found, indices = [], data.indices(batch)
    for place in range(count):
        loss, norm = alone(images[place : place + 1], tf.constant(place, tf.int64))
        index = int(indices[place])
        found.append(BatchImage(place, index, source.name_inside(index), float(loss), float(norm)))
    for variable, value in before:
        variable.assign(value)
    return sorted(found, key=lambda image: (image.is_finite, -image.norm if image.is_finite else image.place))


def _place(model: MaskedImageModel, images: tf.Tensor, found: list[BatchImage], batch: int, scale: float) -> str:
    """Where numbers are not finite: in the worst image, or if each is finite alone in all of them together."""
    seed, worst = ExampleSeed.for_step(model.seed, batch, len(images)), found[0]
    if not worst.is_finite:
        alone = images[worst.place : worst.place + 1]
        return where_not_finite(model, alone, seed.skip(worst.place), scale / len(images))
    return where_not_finite(model, images, seed, scale)


def recorded(path: str, number: int) -> dict[str, Any] | None:
    """The line of a step in `steps.jsonl`; None if there is none."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        line = next((line for line in file if step_of(line) == number), None)
    return None if line is None else json.loads(line)


def agreement(step: Step, record: dict[str, Any] | None) -> str:
    """Compares a step with its line in `steps.jsonl`."""
    if record is None:
        return "steps.jsonl does not have this step"
    now = line_of(step)
    if now == record:
        return "as in steps.jsonl"
    shown = f"loss {record['loss']}, gradient norm {record['gradient_norm']}"
    pairs = [(now[name], record[name]) for name in ("loss", "gradient_norm")]
    near = all(one == other or None not in (one, other) and _near(one, other) for one, other in pairs)
    if near:
        return f"steps.jsonl has {shown}: equal up to round-off"
    return f"steps.jsonl has {shown}: this is another step, of other data, another machine or another version"


def _near(one: float, other: float) -> bool:
    return bool(np.isclose(one, other, rtol=_ROUND_OFF, atol=0))
