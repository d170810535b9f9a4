"""Pretraining: from a config and images to a run folder."""

from __future__ import annotations

import logging
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.data import Augmentation, CorruptImages, first_images, open_source
from keras_mae.data.subset import random_subset
from keras_mae.models import MAEDecoder, MaskedAutoencoder, ViTEncoder
from keras_mae.optimizers import WarmupCosine, adamw
from keras_mae.trainers import callbacks, memory, pictures, run
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.data_service import from_service
from keras_mae.trainers.model_parts import make_sampler, make_target
from keras_mae.trainers.programs import batches_of, jit_of, save_finished, steps_per_epoch, train_to_the_end
from keras_mae.trainers.strategy import check_batch, is_chief, make_strategy

_log = logging.getLogger("keras_mae")
_SHOWN = 16
_FITTED_ON = 1000  # images that a target learns from


def build(config: PretrainConfig) -> MaskedAutoencoder:
    """The freshly initialised model of a config; the weights are a function of its seed."""
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
        mean=config.mean,
        std=config.std,
        dtype=config.dtype_policy,
        **overrides,
    )
    decoder = MAEDecoder(
        config.decoder_hidden_dim,
        config.decoder_num_layers,
        config.decoder_num_heads,
        position_embedding=config.position_embedding,
        position_temperature=config.position_temperature,
        dtype=config.dtype_policy,
    )
    for block in (*encoder.blocks, *decoder.blocks):
        block.rematerialize = config.rematerialize
    return MaskedAutoencoder(
        encoder,
        decoder,
        make_sampler(config),
        make_target(config),
        seed=config.seed,
        mask_tokens_in_encoder=config.mask_tokens_in_encoder,
        dtype=config.dtype_policy,
    )


def pretrain(
    config: PretrainConfig,
    data: str,
    output: str,
    resume: bool = False,
    overwrite: bool = False,
    strategy: str = "auto",
    tpu: str = "local",
    data_service: str | None = None,
) -> MaskedAutoencoder:
    """Trains a masked autoencoder, and fills a run folder.

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
    scope = make_strategy(strategy, tpu)
    if config.checkpoint_steps is not None and config.checkpoint_steps < 1:
        raise ValueError(f"checkpoint_steps counts from 1 on, or is None; got {config.checkpoint_steps}")
    check_batch(config.batch_size, config.accumulation_steps, scope)
    source = open_source(data)
    steps = steps_per_epoch(config, source.num_images)
    schedule = WarmupCosine(config.peak_learning_rate, round(config.warmup_epochs * steps), config.epochs * steps)
    with scope.scope():
        mae = build(config)
        mae.compile(
            optimizer=adamw(mae, schedule, config.weight_decay, config.beta_2),
            jit_compile=jit_of(config, mae),
            accumulation_steps=config.accumulation_steps,
            clip_norm=config.clip_norm,
        )
    corrupt = CorruptImages(source.num_images, source.name_of)
    if mae.target.needs_fit:
        sample = random_subset(source, _FITTED_ON)
        mae.target.fit(first_images(sample, config.image_shape, _FITTED_ON, config.crop_ratio))
    shown = first_images(source, config.image_shape, _SHOWN, config.crop_ratio)
    augmentation = Augmentation(config.crop_scale, config.flip, config.crop_ratio, config.jitter)

    folder = run.RunFolder(output)
    if is_chief(scope):
        folder.start(config, data, resume, overwrite)

    batches_at = batches_of(config, source, config.image_shape, augmentation, corrupt)

    def dataset_at(step: int, num_hosts: int, host: int) -> tf.data.Dataset:
        dataset = batches_at(step, num_hosts, host)
        return dataset if data_service is None else from_service(dataset, data_service)

    def announce(done: int) -> None:
        replicas = scope.num_replicas_in_sync
        _log.info(
            "%d images, %d steps an epoch, %d epochs%s; %s parameters in the encoder, %s in all; about %s of memory%s",
            source.num_images,
            steps,
            config.epochs,
            f", resumed after {done} of {config.epochs * steps} steps" if done else "",
            f"{mae.encoder.count_params():,}",
            f"{mae.count_params():,}",
            memory.as_text(memory.estimate(mae, config, replicas)),
            f" on each of {replicas} replicas" if replicas > 1 else "",
        )

    extra = []
    if mae.target.has_pixels:
        extra.append(
            callbacks.Pictures(
                lambda path: draw_reconstructions(mae, shown, path),
                folder / run.PICTURES,
                config.pictures_every,
                config.epochs,
            )
        )
    train_to_the_end(mae, config, dataset_at, folder, steps, [corrupt], resume, extra=extra, on_start=announce)
    save_finished(mae, folder, [corrupt])
    return mae


def draw_reconstructions(
    mae: MaskedAutoencoder, images: np.ndarray, path: str, mask_ratio: float | None = None
) -> None:
    """Writes a PNG with the original, masked and reconstructed form of each image."""
    outputs = mae.reconstruct(images, mask_ratio=mask_ratio)
    grid = pictures.reconstruction_grid(images, outputs["masked_images"], outputs["reconstruction"])
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    pictures.save(grid, path)
