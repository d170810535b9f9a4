"""The steps that every training program shares: begin, compile, and save the finished model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from keras_mae.checkpoints.licences import write_licence
from keras_mae.data import CorruptImages
from keras_mae.data.sources import kind_of
from keras_mae.models import ImageHead
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.trainers import run
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.config import TrainingConfig
from keras_mae.trainers.dtype_choice import with_dtype
from keras_mae.trainers.memory import check_memory
from keras_mae.trainers.strategy import check_batch, make_strategy, on_chief
from keras_mae.training.uncompiled import uncompiled

_log = logging.getLogger("keras_mae")
_NAMED = 100  # corrupt images in `config.json`

ConfigT = TypeVar("ConfigT", bound=TrainingConfig)


def begin(
    config: ConfigT, data: str, output: str, strategy: str, tpu: str, resume: bool = False
) -> tuple[ConfigT, tf.distribute.Strategy]:
    """Claims the run folder, and returns the config, with a dtype policy for `auto`, and the strategy to train with.

    Raises:
        ValueError: before anything is read, for a config, data specification, strategy, batch size or folder that
            cannot work, or for too little memory.
    """
    check_together(config)
    kind_of(data)
    scope = make_strategy(strategy, tpu)
    check_batch(config.optimizer.batch_size, getattr(config.optimizer, "accumulation_steps", 1), scope)
    folder = run.RunFolder(output)
    on_chief(scope, folder.claim)
    config = with_dtype(config, scope, folder if resume else None)
    check_memory(config, scope)
    return config, scope


def begin_choosing(data: str, output: str, strategy: str, tpu: str) -> tf.distribute.Strategy:
    """As `begin`, for a config that is chosen later; `check_chosen` follows."""
    kind_of(data)
    scope = make_strategy(strategy, tpu)
    on_chief(scope, run.RunFolder(output).claim)
    return scope


def check_chosen(config: TrainingConfig, scope: tf.distribute.Strategy) -> None:
    """Raises a ValueError for a chosen config that cannot work, as `begin`."""
    check_together(config)
    check_batch(config.optimizer.batch_size, getattr(config.optimizer, "accumulation_steps", 1), scope)
    check_memory(config, scope)


def compile_model(model: MaskedImageModel | ImageHead, config: TrainingConfig, steps: int) -> None:
    """Compiles a model in the scope of its strategy, with XLA if it supports that; `steps` is the number in an epoch.

    Raises:
        ValueError: if the settings of the schedule do not go together.
    """
    optimizer, jit = config.optimizer, config.run.jit_compile
    model.compile(
        optimizer=optimizer.build(model, steps),
        jit_compile="auto" if jit is None else jit,
        steps_per_execution=config.run.steps_per_execution,
        accumulation_steps=getattr(optimizer, "accumulation_steps", 1),
        clip_norm=getattr(optimizer, "clip_norm", None),
        spike_factor=getattr(optimizer, "spike_factor", None),
        spike_action=getattr(optimizer, "spike_action", "skip"),
    )


def steps_per_epoch(config: TrainingConfig, num_images: int) -> int:
    """The number of whole batches in the images; an epoch leaves out the rest, other images each time.

    Raises:
        ValueError: if there are fewer images than a batch has.
    """
    steps = num_images // config.optimizer.batch_size
    if not steps:
        smaller = max(1, 2 ** int(np.log2(max(num_images // 4, 1))))
        raise ValueError(
            f"a batch of {config.optimizer.batch_size} needs as many images, and there are {num_images} to train on; "
            f"set a smaller one, such as --set batch_size={smaller}, or take another of keras-mae recipes"
        )
    return steps


def save_finished(
    model: MaskedImageModel | ImageHead,
    folder: run.RunFolder,
    corrupt: Sequence[CorruptImages],
    results: dict[str, Any] | None = None,
) -> None:
    """Writes the model, its encoder and the results, if any, and logs the number of corrupt images."""

    def write() -> None:
        save_model(model, folder, run.MODEL)
        save_model(model.encoder, folder, run.ENCODER)
        if results is not None:
            folder.write_json(run.RESULTS, results)

    on_chief(model.distribute_strategy, write)  # a worker that ended earlier would end the chief, too
    if any(each.names for each in corrupt):  # which `keras-mae report` shows
        told = [
            {"summary": each.summary(), "names": sorted(each.names.values())[:_NAMED]} for each in corrupt if each.names
        ]
        on_chief(model.distribute_strategy, lambda: folder.note("corrupt", told))
    for each in corrupt:
        if each.names:
            _log.warning(each.summary())


def save_model(model: keras.Model, folder: run.RunFolder, name: str) -> None:
    """Writes the model to the folder's file `name`, without its optimizer, which the checkpoints hold."""
    licence = folder.init().get("licence")

    def save(path: str) -> None:
        with uncompiled(model):
            model.save(path)
        write_licence(path, licence)

    folder.replace(name, save)
