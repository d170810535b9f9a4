"""Checks of the settings of a config against each other."""

from __future__ import annotations

import importlib.util
from typing import Any

from keras_mae.encoders.pooling import ATTENTIVE
from keras_mae.trainers.classifier_config import FinetuneHead
from keras_mae.trainers.label_checks import check_labels
from keras_mae.trainers.ranges import shown
from keras_mae.trainers.settings import Config, values_of

UNTRAINED = (
    "its weights are trained with labels; train a probe by keras-mae linear-probe --set "
    "pooling=attentive, and name its run with --run; or take --pooling=mean, cls or both"
)


_NONE = "tensorboard"  # the tracker that needs no package of its own


def check_together(config: Config) -> None:
    """Checks the settings of a config against each other; each by itself has been checked when the config was made.

    Raises:
        ValueError: if two of them exclude each other; with what to type instead.
    """
    settings = values_of(config)
    check_weights(config)
    _check_model(settings)
    _check_training(settings)
    check_labels(settings)
    _check_tracker(settings.get("run.tracker", _NONE))
    if (evaluation := getattr(config, "evaluation", None)) is not None:
        evaluation.check(getattr(config, "data"))


def _check_model(settings: dict[str, Any]) -> None:
    image, patch = settings.get("encoder.image_size"), settings.get("encoder.patch_size")
    if image and patch and any(side % part for side, part in zip(image, patch, strict=True)):
        near = tuple(max(part, side // part * part) for side, part in zip(image, patch, strict=True))
        raise ValueError(
            f"image_size must be divisible by patch_size: got {image} and {patch}; type --set 'image_size={near}'"
        )
    for part in ("encoder", "decoder"):
        width, heads = settings.get(f"{part}.hidden_dim"), settings.get(f"{part}.num_heads")
        if width and heads and width % heads:
            raise ValueError(
                f"{part}.hidden_dim must be divisible by {part}.num_heads: got {width} and {heads}; type "
                f"--set {part}.hidden_dim={-(-width // heads) * heads}"
            )
        if width and width % 4 and settings.get("encoder.position_embedding") == "sincos":
            raise ValueError(
                f"position_embedding=sincos needs {part}.hidden_dim to be divisible by 4: got {width}; type "
                "--set position_embedding=learned, or another width"
            )
    channels = settings.get("encoder.channels")
    for key in ("mean", "std"):
        values = settings.get(f"encoder.{key}")
        if values and channels and len(values) != channels:
            raise ValueError(
                f"{key} has one number for each of channels={channels}, got {len(values)}; type "
                f"--set {key}=None, or as many numbers"
            )
    if settings.get("target") == "tokens" and None in (
        settings["target.tokenizer"],
        settings["target.vocabulary_size"],
    ):
        raise ValueError(
            "target=tokens needs a tokenizer, the folder of a SavedModel, and its vocabulary_size; type "
            "--set tokenizer=FOLDER --set vocabulary_size=NUMBER"
        )
    queries, pooling = settings.get("head.num_queries"), settings.get("head.pooling")
    if queries is not None and pooling != ATTENTIVE and queries != FinetuneHead.num_queries:
        raise ValueError(
            f"num_queries is for pooling=attentive; the pooling is {pooling}; type --set pooling=attentive, too, or "
            "leave num_queries out"
        )
    trained = settings.get("head.num_trainable_layers")
    if trained is not None and 2 * trained != int(2 * trained):
        raise ValueError(f"num_trainable_layers is a multiple of 0.5, got {trained:g}")


def check_weights(config: Config) -> None:
    """Checks the settings of the weights that a run begins with; a part of `check_together`."""
    settings = values_of(config)
    part = "run" if "run.init" in settings else "encoder"
    idle = [name for name in ("init_format", "init_prefix", "init_channels") if settings.get(f"{part}.{name}")]
    check_source(settings.get(f"{part}.init"), settings.get("encoder.run"), idle)
    frozen, epochs = (settings.get(f"optimizer.{key}") for key in ("frozen_epochs", "epochs"))
    if frozen is not None and epochs is not None and frozen >= epochs:
        raise ValueError(
            f"the encoder must learn before the run ends: got frozen_epochs={frozen:g} of epochs={epochs}; type --set "
            f"frozen_epochs={epochs / 10:g}, or train for more epochs"
        )


def _check_tracker(name: str) -> None:
    if name != _NONE and importlib.util.find_spec(name) is None:
        raise ValueError(f"--tracker={name} needs {name}: pip install 'keras-mae[{name}]', or leave out --tracker")


def check_source(init: str | None, run: str | None, further: list[str]) -> None:
    """Refuses `--init` with `--run`, and further settings of `--init` without it."""
    if init is not None and run is not None:
        raise ValueError(
            f"--run={run} and --init={init} both name the encoder: give one of them, --run for a run of keras-mae or "
            "its .keras file, --init for published weights, too"
        )
    if init is None and further:
        raise ValueError(f"{further[0]} is for the file of --init, which is not given: name it, or leave this out")


def _check_training(settings: dict[str, Any]) -> None:
    for key in ("crop_scale", "scale"):
        scale = settings.get(f"data.{key}")
        if scale and scale[0] > scale[1]:
            raise ValueError(f"{key} is (smallest, largest), got {scale}; type --set '{key}={scale[::-1]}'")
    epochs, warmup, milestones, batch, parts = (
        settings.get(f"optimizer.{key}")
        for key in ("epochs", "warmup_epochs", "milestones", "batch_size", "accumulation_steps")
    )
    if batch and parts and batch % parts:
        fitting = max(part for part in range(1, parts) if batch % part == 0)
        raise ValueError(
            f"batch_size={batch} must be divisible by accumulation_steps={parts}; type --set "
            f"accumulation_steps={fitting}, or another batch_size"
        )
    if epochs and warmup >= epochs:
        raise ValueError(
            f"warm-up must be shorter than the run: got warmup_epochs={warmup:g} of epochs={epochs}; type "
            f"--set warmup_epochs={epochs / 20:g}, or train for more epochs"
        )
    if milestones and milestones[-1] >= epochs:
        raise ValueError(
            f"milestones lie within the run: got {shown(milestones)} for {epochs} epochs; set earlier ones, or "
            "--set milestones=None for half a cosine"
        )
    if milestones and any(one >= other for one, other in zip((warmup, *milestones), milestones, strict=False)):
        raise ValueError(
            f"milestones rise, and come after the warm-up: got {shown(milestones)} and warmup_epochs={warmup:g}"
        )
