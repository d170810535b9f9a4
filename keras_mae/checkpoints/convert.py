"""Conversion of a checkpoint from one format to another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras

from keras_mae.checkpoints.decoder_target import NORMALISED, target_of
from keras_mae.checkpoints.description import describe_checkpoint
from keras_mae.checkpoints.formats import suggestion
from keras_mae.checkpoints.known_files import licence_of, local_path
from keras_mae.checkpoints.load import load_checkpoint
from keras_mae.checkpoints.reading import KerasFile, open_tensors
from keras_mae.checkpoints.save import check_target, config_path, save_checkpoint
from keras_mae.decoders import MAEDecoder
from keras_mae.masking import RandomMasking
from keras_mae.models import ImageClassifier, MaskedAutoencoder, SimMIM, ViTEncoder
from keras_mae.targets import PixelTarget


def convert_checkpoint(
    source: str,
    source_format: str,
    output: str,
    output_format: str,
    preset: str | None = None,
    num_classes: int | None = None,
    pooling: str = "mean",
    skip: Sequence[str] = (),
    resize_positions: bool | tuple[int, int] = False,
    prefix: str | None = None,
    overwrite: bool = False,
    **overrides: Any,
) -> str:
    """Writes a checkpoint in another format.

    Args:
        source: the file, or its URL.
        source_format: its format.
        output: the file to write.
        output_format: its format.
        preset: the model in `source`, such as `vit_base_patch16`, `mae_vit_base_patch16` or `simmim_vit_base_patch16`;
            None takes the model that `describe_checkpoint` finds in the file; a `.keras` file holds its model.
        num_classes: makes it a classifier on that encoder.
        pooling: the classifier's.
        skip, resize_positions, prefix: as for `load_checkpoint`.
        overwrite: whether to replace existing files: `output`, and for Hugging Face its `config.json`.
        **overrides: constructor arguments of the encoder that replace the preset's, such as `image_shape`,
            `position_embedding` or `layer_norm_epsilon`.

    Returns:
        The reports of loading and saving, for printing.

    Raises:
        ValueError: as `load_checkpoint` and `save_checkpoint`; if the file does not tell which model it is, and
            `preset` is None; or if `output` exists.
    """
    check_target(output, output_format)
    written = [output, config_path(output)] if output_format == "hf" else [output]
    taken = [path for path in written if os.path.exists(path)]
    if taken and not overwrite:
        raise ValueError(f"{taken[0]} is there already: choose another output, or allow its replacement with overwrite")
    if preset is None and source_format == "keras":
        if skip or resize_positions or prefix or overrides or num_classes is not None:
            raise ValueError(
                f"{source} is converted as the model that was saved; to fill another model with it, name a preset"
            )
        path = local_path(source)
        with open_tensors(path) as file:
            if not isinstance(file, KerasFile):
                raise ValueError(f"{source} is not in the format 'keras'. {suggestion(file.shapes, source)}")
            return str(save_checkpoint(file.model, output, output_format, licence_of(source, path)))
    model: keras.Model
    if preset is None:
        model = _described_model(source, source_format, prefix, num_classes, pooling, skip, overrides)
    elif num_classes is not None:
        model = ImageClassifier.from_preset(preset, num_classes, pooling, **overrides)
    else:
        kinds: dict[str, Any] = {"mae": MaskedAutoencoder, "simmim": SimMIM}
        model = kinds.get(preset.partition("_")[0], ViTEncoder).from_preset(preset, **overrides)
    loaded = load_checkpoint(model, source, source_format, skip, resize_positions, prefix)
    licence = licence_of(source, loaded.path)
    return f"{loaded}\n{save_checkpoint(model, output, output_format, licence)}"


def _described_model(
    source: str,
    format: str,
    prefix: str | None,
    num_classes: int | None,
    pooling: str,
    skip: Sequence[str],
    overrides: dict[str, Any],
) -> keras.Model:
    """A fresh model of the kind that a file describes."""
    path = local_path(source)
    said = describe_checkpoint(path, format, prefix, overrides)
    if said.unknown:
        raise ValueError(
            f"{path} does not tell {' and '.join(said.unknown)} of its model: name the preset, or set them"
        )
    if said.has_head and num_classes is None and not skip:
        raise ValueError(f"{path} holds a classifier: give num_classes, or take its encoder alone with skip='head.*'")
    encoder = ViTEncoder(**said.encoder)
    if num_classes is not None:
        return ImageClassifier(encoder, num_classes, pooling)
    target = PixelTarget(normalize=target_of(source, said) == NORMALISED)
    if said.method == "mae":
        return MaskedAutoencoder(encoder, MAEDecoder(**(said.decoder or {})), target=target)
    return SimMIM(encoder, RandomMasking()) if said.method == "simmim" else encoder
