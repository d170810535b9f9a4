"""Pretraining: from a config and images to a run folder."""

from __future__ import annotations

import logging
import os
from typing import Any

import keras
import numpy as np

from keras_mae.data import Augmentation, CorruptImages, Source, first_images, open_source, training_dataset
from keras_mae.masking import RandomMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder, ViTEncoder
from keras_mae.optimizers import WarmupCosine, adamw
from keras_mae.targets import PixelTarget
from keras_mae.trainers import callbacks, pictures, run
from keras_mae.trainers.config import PretrainConfig

_log = logging.getLogger("keras_mae")
_SHOWN = 16


def build(config: PretrainConfig) -> MaskedAutoencoder:
    """The freshly initialised model of a config; the weights are a function of its seed."""
    keras.utils.set_random_seed(config.seed)
    sizes = {"hidden_dim": config.hidden_dim, "num_layers": config.num_layers, "num_heads": config.num_heads}
    overrides: dict[str, Any] = {name: size for name, size in sizes.items() if size is not None}
    encoder = ViTEncoder.from_preset(
        config.preset,
        image_shape=config.image_shape,
        patch_size=config.patch_size,
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
        position_temperature=config.position_temperature,
        dtype=config.dtype_policy,
    )
    target = PixelTarget(normalize=config.normalize_target)
    sampler = RandomMasking(config.mask_ratio)
    return MaskedAutoencoder(encoder, decoder, sampler, target, seed=config.seed, dtype=config.dtype_policy)


def pretrain(
    config: PretrainConfig, data: str, output: str, resume: bool = False, overwrite: bool = False
) -> MaskedAutoencoder:
    """Trains a masked autoencoder, and fills a run folder.

    Args:
        config: what is trained, and how.
        data: a data specification, see `keras_mae.data.open_source`.
        output: the run folder.
        resume: continue the run that is there.
        overwrite: discard the run that is there.

    Returns:
        The trained model.

    Raises:
        ValueError: for bad data, a config that does not fit together, or an output folder that is taken.
    """
    source = open_source(data)
    steps = source.num_images // config.batch_size
    if not steps:
        raise ValueError(
            f"a batch of {config.batch_size} needs as many images, the data has {source.num_images}; "
            f"set a smaller one, such as --set batch_size={max(1, 2 ** int(np.log2(max(source.num_images // 4, 1))))}"
        )
    schedule = WarmupCosine(config.peak_learning_rate, round(config.warmup_epochs * steps), config.epochs * steps)
    mae = build(config)
    corrupt = CorruptImages(source.num_images, source.name_of)
    shown = first_images(source, config.image_shape, _SHOWN, config.crop_ratio)

    folder = run.RunFolder(output)
    folder.start(config, data, resume, overwrite)
    mae.compile(
        optimizer=adamw(mae, schedule, config.weight_decay, config.beta_2),
        jit_compile="auto" if config.jit_compile is None else config.jit_compile,
    )
    checkpoints = callbacks.Checkpoints(folder / run.CHECKPOINTS, mae)
    done = checkpoints.restore() if resume else 0
    _log.info(
        "%d images, %d steps an epoch, %d epochs%s; %s parameters in the encoder, %s in all",
        source.num_images,
        steps,
        config.epochs,
        f", resumed after {done // steps}" if done else "",
        f"{mae.encoder.count_params():,}",
        f"{mae.count_params():,}",
    )
    if done < config.epochs * steps:
        _fit(mae, config, source, corrupt, folder, checkpoints, shown, done)
    folder.replace(run.MODEL, lambda path: mae.save(path, include_optimizer=False))
    folder.replace(run.ENCODER, mae.encoder.save)
    if corrupt.names:
        _log.warning(corrupt.summary())
    return mae


def _fit(
    mae: MaskedAutoencoder,
    config: PretrainConfig,
    source: Source,
    corrupt: CorruptImages,
    folder: run.RunFolder,
    checkpoints: callbacks.Checkpoints,
    shown: np.ndarray,
    done: int,
) -> None:
    steps = source.num_images // config.batch_size
    augmentation = Augmentation(config.crop_scale, config.flip, config.crop_ratio)
    dataset = training_dataset(
        source, config.image_shape, config.batch_size, config.seed, augmentation, corrupt, first_step=done
    )
    try:
        mae.fit(
            dataset,
            epochs=config.epochs,
            initial_epoch=done // steps,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[
                callbacks.Progress(config.batch_size),
                callbacks.StopOnTooManyCorrupt(corrupt),
                callbacks.JsonLines(folder / run.LOG, config.batch_size, done),
                callbacks.TensorBoardScalars(folder / run.TENSORBOARD),
                callbacks.Pictures(
                    lambda path: draw_reconstructions(mae, shown, path), folder / run.PICTURES, config.pictures_every
                ),
                checkpoints,
            ],
        )
    except BaseException:
        corrupt.check()  # if the stream ended because of corrupt images, that is the message
        raise


def draw_reconstructions(
    mae: MaskedAutoencoder, images: np.ndarray, path: str, mask_ratio: float | None = None
) -> None:
    """Writes a PNG with the original, masked and reconstructed form of each image."""
    outputs = mae.reconstruct(images, mask_ratio=mask_ratio)
    grid = pictures.reconstruction_grid(images, outputs["masked_images"], outputs["reconstruction"])
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    pictures.save(grid, path)
