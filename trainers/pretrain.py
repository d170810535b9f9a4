"""Pretraining: from a config and images to a run folder."""

from __future__ import annotations

import logging
import os
import time

import keras
import numpy as np
import tensorflow as tf

from keras_mae.data import DataService, Source, TrainingData, open_source, sample_images
from keras_mae.data.display import Display
from keras_mae.data.seen import Seen
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.one_writer import released
from keras_mae.trainers import budget, memory, pictures, run
from keras_mae.trainers.auto_recipe import AutoRecipe
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.dtype_choice import with_dtype
from keras_mae.trainers.first_weights import load_into, with_statistics
from keras_mae.trainers.labelled_data import check_channels
from keras_mae.trainers.loop import train
from keras_mae.trainers.monitor import make_monitor
from keras_mae.trainers.programs import (
    begin,
    begin_choosing,
    check_chosen,
    compile_model,
    save_finished,
    steps_per_epoch,
)
from keras_mae.trainers.reference_loss import reference_loss
from keras_mae.trainers.strategy import on_chief
from keras_mae.trainers.trained_model import find_model, is_ours, say_other_depth

_log = logging.getLogger("keras_mae")
_HIDDEN = 128  # the gray of a masked patch
_SHOWN = 16
_COMPARED = 64  # images of the reference loss
FITTED_ON = 1000  # images that a target is fitted on


def build(config: PretrainConfig) -> MaskedImageModel:
    """The freshly initialised model of a config; the weights are a function of its seed.

    Raises:
        ValueError: for settings that do not go together.
    """
    check_together(config)
    config = with_dtype(config)
    keras.utils.set_random_seed(config.run.seed)
    dtype = config.run.dtype_policy
    encoder = config.encoder.build(dtype)
    decoder = None if config.decoder is None else config.decoder.build(encoder, dtype)
    masking, target, loss = config.masking.build(), config.target.build(), config.loss.build()
    model = config.method.build(encoder, decoder, masking, target, loss, config.run.seed, dtype)
    encoder.rematerialize = model.decoder.rematerialize = config.run.rematerialize
    return model


@released()
def pretrain(
    config: PretrainConfig | AutoRecipe,
    data: str,
    output: str,
    resume: bool = False,
    overwrite: bool = False,
    strategy: str = "auto",
    tpu: str = "local",
    data_service: str | None = None,
) -> MaskedImageModel:
    """Trains a masked autoencoder or a SimMIM, from fresh weights or from those of `config.run.init`.

    It fills a run folder. `keras_mae.trainers.first_weights.continued` makes the config for weights of a file.

    Args:
        config: of the run; with an `AutoRecipe` it is chosen by the images and the machine, or with `resume` that of
            the run that is there.
        data: a data specification, see `keras_mae.data.open_source`.
        output: the run folder; several workers share it.
        resume: continue the run that is there.
        overwrite: discard the run that is there.
        strategy, tpu: the devices to train on, see `make_strategy`.
        data_service: None, or the address of a tf.data service that prepares the images, such as `grpc://host:5050`.

    Returns:
        The trained model, after the last epoch. `best.keras` is the model of the best epoch that was evaluated, and
        `results.json` has its measures.

    Raises:
        ValueError: for bad data, settings that do not go together, an output folder that is taken, or too many steps
            in a row that were not finite.
        OSError: if a file cannot be written.
        Preempted: after a SIGTERM, once the state is saved.
    """
    folder = run.RunFolder(output)
    config, scope, source = _begun(config, data, folder, resume, overwrite, strategy, tpu)
    image_shape = config.encoder.image_shape
    check_channels(source, image_shape[-1], settable=True)
    if config.run.init is not None and is_ours(config.run.init):
        say_other_depth(find_model(config.run.init, run.MODEL), source)
    steps, init = steps_per_epoch(config, source.num_images), None
    if config.run.init is not None:
        photographs = image_shape[-1] == 3 and source.dtype == "uint8"
        config = with_statistics(config, source, image_shape[-1], folder, resume, photographs)
    with scope.scope():
        model = build(config)
        if config.run.init is not None:
            config, init = load_into(model, config)
        compile_model(model, config, steps)
    if model.target.needs_fit:
        model.target.fit(sample_images(source, image_shape, FITTED_ON, config.data.crop_ratio))
    sample = sample_images(source, image_shape, _COMPARED, config.data.crop_ratio)
    shown, reference = sample[:_SHOWN], reference_loss(model, sample)

    batches = TrainingData(
        source,
        image_shape,
        config.optimizer.batch_size,
        config.run.seed,
        config.data.build(),
        () if data_service is None else (DataService(data_service),),
    )
    begun = time.perf_counter() - (budget.seconds_so_far(folder) if resume else 0.0)
    if config.run.hours is not None:
        if not resume:
            folder.check_new(overwrite)
        asked = None  # evaluations that the settings ask for
        if config.evaluation.evaluate_every and not resume:
            asked = make_monitor(model, config, data, source, steps, folder)
        share = 0.0 if asked is None else asked.share
        config = budget.decide_epochs(model, config, batches, steps, folder, resume, share)
    tokenizer = getattr(config.target, "tokenizer", None)
    monitor = make_monitor(model, config, data, source, steps, folder)
    seen = Seen(source, *([] if monitor is None else monitor.named_sources))
    on_chief(scope, lambda: folder.start(config, data, resume, overwrite, seen, tokenizer, init))
    if reference is not None and not resume:
        on_chief(scope, lambda: folder.note("reference", reference._asdict()))

    def announce(done: int) -> None:
        replicas = scope.num_replicas_in_sync
        needed = memory.estimate(config, replicas, memory.device_here())
        _log.info(
            "%d images, %d steps an epoch, %d epochs%s; %s parameters in the encoder, %s in all; %s of memory for a "
            "step%s",
            source.num_images,
            steps,
            config.optimizer.epochs,
            f", resumed after {done} of {config.optimizer.epochs * steps} steps" if done else "",
            f"{model.encoder.count_params():,}",
            f"{model.count_params():,}",
            "an unknown amount" if needed is None else f"about {memory.as_text(needed)}",
            f" on each of {replicas} replicas" if replicas > 1 else "",
        )
        if reference is not None:
            _log.info("%s", reference)
        if monitor is not None:
            _log.info("%s", monitor.described())
            model.stop_training = monitor.start(done // steps)

    def draw(epoch: int, logs=None) -> None:
        if (epoch + 1) % config.run.pictures_every == 0 or epoch + 1 == config.optimizer.epochs:
            draw_reconstructions(model, shown, os.path.join(folder / run.PICTURES, f"epoch_{epoch + 1:04d}.png"))

    extra = [keras.callbacks.LambdaCallback(on_epoch_end=draw)] if model.target.has_pixels else []
    if config.run.hours is not None:
        used = time.perf_counter() - begun
        extra.append(budget.Punctuality(config.run.hours, config.optimizer.epochs, used))
    measured = [] if monitor is None else [monitor]
    corrupt = [batches.corrupt, *(each for one in measured for each in one.corrupt)]
    train(model, config, batches, folder, steps, corrupt, resume, extra=extra, everywhere=measured, on_start=announce)
    losses = getattr(getattr(model, "history", None), "history", {}).get("loss")
    if losses:
        _log.info("loss %.4f in the last epoch%s", losses[-1], "" if reference is None else f"; {reference}")
    results = None if monitor is None else monitor.results()
    if monitor is not None and results is not None:
        _log.info("%s", monitor.last_line(results))
    save_finished(model, folder, corrupt, results)
    return model


def _begun(
    config: PretrainConfig | AutoRecipe,
    data: str,
    folder: run.RunFolder,
    resume: bool,
    overwrite: bool,
    strategy: str,
    tpu: str,
) -> tuple[PretrainConfig, tf.distribute.Strategy, Source]:
    """The config, chosen if a recipe is to choose it; the strategy; and the images."""
    if isinstance(config, AutoRecipe) and resume:
        config = config.resumed(folder)
    if not isinstance(config, AutoRecipe):
        config, scope = begin(config, data, folder.path, strategy, tpu, resume)
        return config, scope, open_source(data, decoding=config.data.decoding())
    scope = begin_choosing(data, folder.path, strategy, tpu)
    folder.check_new(overwrite)
    source = open_source(data, decoding=config.base.data.decoding())
    chosen = config.choose(source, scope).config
    check_chosen(chosen, scope)
    return chosen, scope, source


def draw_reconstructions(
    model: MaskedImageModel, images: np.ndarray, path: str, mask_ratio: float | None = None
) -> None:
    """Writes a PNG with the original, masked and reconstructed form of each image.

    Args:
        model: its target has pixels.
        images: `(N, H, W, C)` in [0, 255], uint8 if they have 8 bits.
        path: of the PNG.
        mask_ratio: another mask ratio than the model's.
    """
    outputs = {name: value.numpy() for name, value in model.reconstruct(images, mask_ratio=mask_ratio).items()}
    broken = np.count_nonzero(~np.isfinite(outputs["reconstruction"]).all(axis=(1, 2, 3)))
    if broken:
        _log.warning("%d of %d reconstructions are not finite: red in %s", broken, len(images), path)
    display = Display(images)
    originals = display(images)
    height, width = model.encoder.patch_size
    hidden = outputs["mask"].reshape(-1, *model.encoder.grid, 1).repeat(height, axis=1).repeat(width, axis=2)
    without = outputs.get("reconstruction_from_visible")
    grid = pictures.reconstruction_grid(
        originals,
        np.where(hidden > 0, _HIDDEN, originals),
        display(outputs["reconstruction"]),
        None if without is None else display(without),
        display.notes,
    )
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    pictures.save(grid, path)
