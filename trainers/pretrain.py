"""Pretraining: from a config and images to a run folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_mae.data import Augmentation, DataService, Decoding, TrainingData, open_source, sample_images
from keras_mae.data.seen import Seen
from keras_mae.data.sources import kind_of
from keras_mae.models import MAEDecoder, MaskedAutoencoder, SimMIM, ViTEncoder
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.one_writer import released
from keras_mae.optimizers import WarmupCosine, WarmupMultiStep, adamw
from keras_mae.trainers import memory, pictures, run
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.display import Display
from keras_mae.trainers.model_parts import make_sampler, make_target
from keras_mae.trainers.programs import jit_of, save_finished, steps_per_epoch, train_to_the_end
from keras_mae.trainers.reference_loss import reference_loss
from keras_mae.trainers.strategy import check_batch, make_strategy, on_chief

_log = logging.getLogger("keras_mae")
_HIDDEN = 128  # the gray of a masked patch
_SHOWN = 16
_COMPARED = 64  # images that the loss to compare with is that of
_FITTED_ON = 1000  # images that a target learns from


def build(config: PretrainConfig) -> MaskedImageModel:
    """The freshly initialised model of a config; the weights are a function of its seed.

    Raises:
        ValueError: for an unknown method, or settings that do not go together.
    """
    if config.method not in METHODS:
        raise ValueError(f"no method is called {config.method!r}; there are: {', '.join(METHODS)}")
    keras.utils.set_random_seed(config.seed)
    sizes = {"hidden_dim": config.hidden_dim, "num_layers": config.num_layers, "num_heads": config.num_heads}
    overrides: dict[str, Any] = {name: size for name, size in sizes.items() if size is not None}
    encoder = ViTEncoder.from_preset(
        config.preset,
        image_shape=config.image_shape,
        patch_size=config.patch_size,
        use_cls_token=config.use_cls_token,
        position_embedding=config.position_embedding,
        position_temperature=config.position_temperature,
        relative_position_bias=config.relative_position_bias,
        layer_scale=config.layer_scale,
        drop_path_rate=config.drop_path_rate,
        mean=config.mean,
        std=config.std,
        dtype=config.dtype_policy,
        **overrides,
    )
    model = METHODS[config.method](config, encoder)
    encoder.rematerialize = model.decoder.rematerialize = config.rematerialize
    return model


def _mae(config: PretrainConfig, encoder: ViTEncoder) -> MaskedAutoencoder:
    decoder = MAEDecoder(
        config.decoder_hidden_dim,
        config.decoder_num_layers,
        config.decoder_num_heads,
        position_embedding=config.position_embedding or "sincos",
        position_temperature=config.position_temperature,
        dtype=config.dtype_policy,
    )
    return MaskedAutoencoder(
        encoder,
        decoder,
        make_sampler(config),
        make_target(config),
        seed=config.seed,
        mask_tokens_in_encoder=config.mask_tokens_in_encoder,
        dtype=config.dtype_policy,
    )


def _simmim(config: PretrainConfig, encoder: ViTEncoder) -> SimMIM:
    sampler, target = make_sampler(config), make_target(config)
    return SimMIM(encoder, sampler, target, seed=config.seed, dtype=config.dtype_policy)


METHODS: dict[str, Callable[[PretrainConfig, ViTEncoder], MaskedImageModel]] = {"mae": _mae, "simmim": _simmim}


def schedule_of(config: PretrainConfig, steps: int) -> WarmupCosine | WarmupMultiStep:
    """The learning rate by step, for an epoch of so many steps.

    Raises:
        ValueError: if the warm-up is not shorter than the run, or the milestones do not lie between them.
    """
    warmup = round(config.warmup_epochs * steps)
    if config.milestones is None:
        return WarmupCosine(config.peak_learning_rate, warmup, config.epochs * steps)
    if any(epoch >= config.epochs for epoch in config.milestones):
        raise ValueError(
            f"milestones lie within the run: got {config.milestones} for {config.epochs} epochs; set earlier ones, or "
            "milestones=None for half a cosine"
        )
    return WarmupMultiStep(config.peak_learning_rate, warmup, [round(epoch * steps) for epoch in config.milestones])


@released()
def pretrain(
    config: PretrainConfig,
    data: str,
    output: str,
    resume: bool = False,
    overwrite: bool = False,
    strategy: str = "auto",
    tpu: str = "local",
    data_service: str | None = None,
) -> MaskedImageModel:
    """Trains a masked autoencoder or a SimMIM, and fills a run folder.

    Args:
        config: what is trained, and how.
        data: a data specification, see `keras_mae.data.open_source`.
        output: the run folder; several workers share it.
        resume: continue the run that is there.
        overwrite: discard the run that is there.
        strategy, tpu: on what, see `make_strategy`.
        data_service: None, or the address of a tf.data service that prepares the images, such as `grpc://host:5050`.

    Returns:
        The trained model.

    Raises:
        ValueError: for bad data, a config that does not fit together, an output folder that is taken, or too many
            steps in a row that were not finite.
        OSError: if a file cannot be written.
        Preempted: after a SIGTERM, once the state is saved.
    """
    check_together(config)
    kind_of(data)
    scope = make_strategy(strategy, tpu)
    check_batch(config.batch_size, config.accumulation_steps, scope)
    folder = run.RunFolder(output)
    on_chief(scope, folder.claim)
    memory.check_memory(config, scope)
    source = open_source(data, decoding=Decoding.of(config.max_megapixels, config.background))
    steps = steps_per_epoch(config, source.num_images)
    schedule = schedule_of(config, steps)
    with scope.scope():
        model = build(config)
        model.compile(
            optimizer=adamw(model, schedule, config.weight_decay, config.beta_2),
            jit_compile=jit_of(config, model),
            accumulation_steps=config.accumulation_steps,
            clip_norm=config.clip_norm,
        )
    if model.target.needs_fit:
        model.target.fit(sample_images(source, config.image_shape, _FITTED_ON, config.crop_ratio))
    sample = sample_images(source, config.image_shape, _COMPARED, config.crop_ratio)
    shown, reference = sample[:_SHOWN], reference_loss(model, sample)

    on_chief(scope, lambda: folder.start(config, data, resume, overwrite, Seen(source)))

    batches = TrainingData(
        source,
        config.image_shape,
        config.batch_size,
        config.seed,
        Augmentation(config.crop_scale, config.flip, config.crop_ratio, config.jitter),
        () if data_service is None else (DataService(data_service),),
    )

    def announce(done: int) -> None:
        replicas = scope.num_replicas_in_sync
        _log.info(
            "%d images, %d steps an epoch, %d epochs%s; %s parameters in the encoder, %s in all; about %s of memory%s",
            source.num_images,
            steps,
            config.epochs,
            f", resumed after {done} of {config.epochs * steps} steps" if done else "",
            f"{model.encoder.count_params():,}",
            f"{model.count_params():,}",
            memory.as_text(memory.estimate(config, replicas)),
            f" on each of {replicas} replicas" if replicas > 1 else "",
        )
        if reference is not None:
            _log.info("%s", reference)

    def draw(epoch: int, logs=None) -> None:
        if (epoch + 1) % config.pictures_every == 0 or epoch + 1 == config.epochs:
            draw_reconstructions(model, shown, os.path.join(folder / run.PICTURES, f"epoch_{epoch + 1:04d}.png"))

    extra = [keras.callbacks.LambdaCallback(on_epoch_end=draw)] if model.target.has_pixels else []
    train_to_the_end(model, config, batches, folder, steps, [batches.corrupt], resume, extra=extra, on_start=announce)
    losses = getattr(getattr(model, "history", None), "history", {}).get("loss")
    if losses:
        _log.info("loss %.4f in the last epoch%s", losses[-1], "" if reference is None else f"; {reference}")
    save_finished(model, folder, [batches.corrupt])
    return model


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
