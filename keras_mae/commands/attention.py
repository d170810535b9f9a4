"""`keras-mae attention`: pictures of where attention looks, and of what the patch tokens hold."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from absl import flags

from keras_mae.commands.command import Command, check_init, check_model, define_model

if TYPE_CHECKING:
    import keras

    from keras_mae.trainers.trained_model import TrainedModel


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define_model(values)
    flags.DEFINE_string("data", None, "the images, as for pretrain; the run's own if not given", flag_values=values)
    flags.DEFINE_string(
        "output", None,
        "a PNG to write, with a row for each image; or a folder, for a PNG of each image, with the maps of all queries "
        "or heads",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_integer(
        "count", 8, "how many images: a random sample, always the same", lower_bound=1, flag_values=values
    )
    flags.DEFINE_bool("overwrite", False, "replace the PNG or the folder that is there", flag_values=values)
    return values


def _check(values: flags.FlagValues) -> None:
    """Refuses an output that is there or is no picture's, and what names no model."""
    check_model(values, "attention")
    output = values.output
    _, ending = os.path.splitext(output)
    if ending and ending.lower() != ".png" and not os.path.isdir(output):
        raise ValueError(
            f"--output={output} is neither a PNG file nor a folder: type --output={output[: -len(ending)]}.png"
        )
    if os.path.exists(output) and os.path.isdir(output) == (ending.lower() == ".png"):
        there = "a folder" if os.path.isdir(output) else "a file"
        raise ValueError(f"{output} is {there}: choose another output")
    if os.path.exists(output) and not values.overwrite and not (os.path.isdir(output) and not os.listdir(output)):
        raise ValueError(f"{output} is there already: choose another output, or replace it with --overwrite")
    if os.path.isdir(output) and not all(re.fullmatch(r"image_\d+\.png", name) for name in os.listdir(output)):
        raise ValueError(f"{output} holds other files than pictures of attention: choose another output")
    if os.path.isdir(output) and os.path.samefile(output, "."):
        raise ValueError(f"--output={output} is the current folder, which cannot be replaced: name another one")
    check_init(values, values.init)


def _attention(values: flags.FlagValues) -> None:
    from keras_mae.data import open_source, sample_images
    from keras_mae.trainers.labelled_data import check_channels
    from keras_mae.trainers.token_pictures import attention_pictures
    from keras_mae.trainers.trained_model import read_as_trained, say_if_outside

    model, trained = _load(values)
    data = values.data or trained.data
    if data is None:
        raise ValueError(f"{values.run or values.init} does not tell what images to draw: give --data")
    say_if_outside(trained, f"the crop ratio is {trained.crop_ratio}")
    source = open_source(data, decoding=trained.decoding)
    read_as_trained(trained.seen.get("dtype"), trained.path, source)
    encoder = getattr(model, "encoder", model)
    check_channels(source, encoder.image_shape[-1])
    images = sample_images(source, encoder.image_shape, values.count, trained.crop_ratio)
    is_file = values.output.lower().endswith(".png")
    pictures = attention_pictures(model, images, one_each=not is_file)
    _write(pictures, values.output, is_file)
    print(f"wrote {values.output}")


def _load(values: flags.FlagValues) -> tuple[keras.Model, TrainedModel]:
    """The classifier with attentive pooling, or an encoder; and the run, empty for published weights."""
    from keras_mae.trainers.encoder_choice import load_encoder, published_encoder
    from keras_mae.trainers.first_weights import find_weights
    from keras_mae.trainers.trained_model import TrainedModel, find_model, is_ours
    from keras_mae.trainers.trained_pooling import attentive_classifier
    from keras_mae.trainers.training_parts import Weights

    path = values.run or values.init
    if values.run is None and not is_ours(path):
        own = Weights(values.init, values.init_format)
        return published_encoder(own, find_weights(own))[0], TrainedModel(path)
    trained = find_model(path)
    return attentive_classifier(trained) or load_encoder(path), trained


def _write(pictures: list, output: str, is_file: bool) -> None:
    """Writes one picture to a file, or all of them into a folder, whole or not at all."""
    import shutil

    from keras_mae.export.folder_aside import folder_aside
    from keras_mae.trainers.pictures import save

    if is_file:
        os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
        save(pictures[0], output)
        return
    with folder_aside(output) as aside:
        for index, picture in enumerate(pictures):
            picture.save(os.path.join(aside, f"image_{index:0{len(str(len(pictures) - 1))}d}.png"), optimize=True)
        old = f"{aside}.old"
        if os.path.isdir(output):
            os.rename(output, old)
    shutil.rmtree(old, ignore_errors=True)


ATTENTION = Command(
    "draw where a probe's queries or the class token look, and the patch tokens' colours",
    _flags,
    _attention,
    ("output",),
    _check,
)
