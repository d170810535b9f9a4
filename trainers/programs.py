"""What every program that trains does alike: its steps, its batches, the loop, and what it leaves behind."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.data import CorruptImages, TrainingData
from keras_mae.data.sources import kind_of
from keras_mae.models import ImageClassifier
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.trainers import callbacks, run
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.loop import train
from keras_mae.trainers.memory import check_memory
from keras_mae.trainers.strategy import check_batch, make_strategy, on_chief
from keras_mae.training.uncompiled import uncompiled

_log = logging.getLogger("keras_mae")

Config = PretrainConfig | FinetuneConfig | ProbeConfig


def begin(config: Config, data: str, output: str, strategy: str, tpu: str) -> tf.distribute.Strategy:
    """Claims the run folder, and gives the strategy to train with.

    Raises:
        ValueError: for what cannot work, before anything is read: the config, the data specification, the strategy,
            its share of a batch, the folder, the memory.
    """
    check_together(config)
    kind_of(data)
    scope = make_strategy(strategy, tpu)
    check_batch(config.optimizer.batch_size, getattr(config.optimizer, "accumulation_steps", 1), scope)
    on_chief(scope, run.RunFolder(output).claim)
    check_memory(config, scope)
    return scope


def compile_model(model: MaskedImageModel | ImageClassifier, config: Config, steps: int) -> None:
    """Compiles a model as its config says, with XLA as far as it can; in its strategy, for an epoch of so many steps.

    Raises:
        ValueError: for a schedule that is not one.
    """
    optimizer, jit = config.optimizer, config.run.jit_compile
    model.compile(
        optimizer=optimizer.build(model, steps),
        jit_compile="auto" if jit is None else jit and model.supports_jit,
        accumulation_steps=getattr(optimizer, "accumulation_steps", 1),
        clip_norm=getattr(optimizer, "clip_norm", None),
    )


def steps_per_epoch(config: Config, num_images: int) -> int:
    """How many whole batches the images give; the rest is left out of an epoch, another one each time.

    Raises:
        ValueError: if there is none.
    """
    steps = num_images // config.optimizer.batch_size
    if not steps:
        smaller = max(1, 2 ** int(np.log2(max(num_images // 4, 1))))
        raise ValueError(
            f"a batch of {config.optimizer.batch_size} needs as many images, and there are {num_images} to train on; "
            f"set a smaller one, such as --set batch_size={smaller}"
        )
    return steps


def train_to_the_end(
    model: MaskedImageModel | ImageClassifier,
    config: Config,
    data: TrainingData,
    folder: run.RunFolder,
    steps: int,
    corrupt: Sequence[CorruptImages],
    resume: bool,
    everywhere: Sequence[keras.callbacks.Callback] = (),
    **arguments: Any,
) -> None:
    """`train` with the settings of a config, watching the accounts of corrupt images.

    Raises:
        Preempted, OSError: as `train`.
        ValueError: as `train`; or for too many corrupt images, which is the message also if the input ended over them.
    """
    try:
        train(
            model,
            data,
            folder,
            config.optimizer.epochs,
            steps,
            resume,
            config.run.checkpoint_steps,
            config.run.checkpoint_minutes,
            config.run.max_skipped_steps,
            everywhere=[*map(callbacks.StopOnTooManyCorrupt, corrupt), *everywhere],
            **arguments,
        )
    except (run.Preempted, OSError):
        raise
    except BaseException:
        for each in corrupt:
            each.check()
        raise


def save_finished(
    model: MaskedImageModel | ImageClassifier,
    folder: run.RunFolder,
    corrupt: Sequence[CorruptImages],
    results: dict[str, Any] | None = None,
) -> None:
    """Writes model, encoder and results, if there are any, and says how many images were corrupt."""

    def write() -> None:
        save_model(model, folder, run.MODEL)
        save_model(model.encoder, folder, run.ENCODER)
        if results is not None:
            folder.write_json(run.RESULTS, results)

    on_chief(model.distribute_strategy, write)  # who leaves before the chief has saved would end its process too
    for each in corrupt:
        if each.names:
            _log.warning(each.summary())


def save_model(model: keras.Model, folder: run.RunFolder, name: str) -> None:
    """Writes the model to the folder's file `name`, without its optimizer, which is in the run's checkpoints."""
    with uncompiled(model):
        folder.replace(name, model.save)
