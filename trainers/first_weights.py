"""The weights that a run begins with: their file, what it says of its model, and their way into the run's model."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from keras_mae.checkpoints import CheckpointReport, load_checkpoint
from keras_mae.checkpoints.decoder_target import NORMALISED, PLAIN, target_of
from keras_mae.checkpoints.description import Description, describe_checkpoint
from keras_mae.checkpoints.known_files import licence_of, local_path
from keras_mae.data import Source, measure_stats
from keras_mae.encoders.presets import PRESETS
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.trainers import recipes, run
from keras_mae.trainers.config import PretrainConfig, TrainingConfig
from keras_mae.trainers.differences import check_same, plain, refuse_others, target_here, why_fresh
from keras_mae.trainers.encoder_parts import ViT
from keras_mae.trainers.model_parts import Cross, Pixels, Transformer
from keras_mae.trainers.settings import changed, names_in, replaced
from keras_mae.trainers.trained_model import find_model, is_ours
from keras_mae.trainers.training_parts import Weights

TrainingT = TypeVar("TrainingT", bound=TrainingConfig)
_log = logging.getLogger("keras_mae")
_DECODERS: dict[str | None, type] = {"MAEDecoder": Transformer, "CrossDecoder": Cross}
RECIPES = {"mae": "mae_continue", "simmim": "simmim_continue"}


class FirstWeights(NamedTuple):
    """What `--init` names.

    Attributes:
        source: as it was named.
        path: of the file.
        description: what the file says of its model.
        licence: of the weights; None if it is not known.
    """

    source: str
    path: str
    description: Description
    licence: str | None

    def say(self) -> None:
        """Logs how format and sizes were found."""
        for note in self.description.notes:
            _log.info("%s: %s", self.source, note)

    def record(self, report: CheckpointReport | None = None, **more: Any) -> dict[str, Any]:
        """What `config.json` says of the weights; without a report all of them were loaded as they are."""
        return {
            "source": self.source,
            "format": self.description.format,
            "digest": run.digest_of(self.path),
            "licence": self.licence,
            **({} if report is None else {"summary": report.summary()}),
            **more,
        }


def find_weights(own: Weights, file: str = run.ENCODER) -> FirstWeights:
    """Finds the weights, downloads them if they are not on this machine, and reads what they say of themselves.

    Args:
        own: the settings; `init` is not None.
        file: of a run's folder, `model.keras` or `encoder.keras`.

    Raises:
        ValueError: in one line, if there are none, or they are not those of a Vision Transformer.
    """
    source = own.init or ""
    if is_ours(source):
        trained = find_model(source, file)
        path, licence = trained.path, trained.licence
    else:
        path = local_path(source) if os.path.exists(source) else _fetched(source)
        licence = licence_of(source, path)
    description = describe_checkpoint(path, own.init_format, own.init_prefix)
    return FirstWeights(source, path, description, licence)


@functools.cache
def _fetched(source: str) -> str:
    """The file of weights that are not on this machine; a program asks for it several times."""
    return local_path(source)


def continued(own: Weights, settings: Sequence[str], recipe: str | None = None) -> PretrainConfig:
    """The config of a run that goes on from weights: a recipe, with the sizes that the file tells.

    Mean and standard deviation are never the file's, but those of the images.

    Args:
        own: the weights.
        settings: `key=value`, in place of the recipe's and of the file's.
        recipe: its name; None for the one that goes on with the file's method.

    Raises:
        ValueError: as `find_weights` and `changed`.
    """
    found = find_weights(own, run.MODEL)
    description = found.description
    base = recipes.load(recipe or RECIPES[description.method or "mae"], PretrainConfig)
    parts: dict[str, Any] = {"encoder": _encoder_settings(description, base.encoder)}
    kind = _DECODERS.get(description.decoder_class)
    if description.decoder is not None and kind is not None and (recipe is None or kind is type(base.decoder)):
        names = {field.name for field in dataclasses.fields(kind)} & set(description.decoder)
        parts["decoder"] = kind(**{name: description.decoder[name] for name in names})
    target = target_of(found.source, description)
    if target in (PLAIN, NORMALISED) and isinstance(base.target, Pixels):
        parts["target"] = Pixels(normalize_target=target == NORMALISED)
    weights = {f"run.{field.name}": getattr(own, field.name) for field in dataclasses.fields(Weights)}
    config = changed(replaced(base, **parts, **weights), settings)
    given = names_in(config, settings)
    here = PRESETS[config.encoder.preset] if "encoder.preset" in given else {}
    here = here | {name: value for name, value in vars(config.encoder).items() if f"encoder.{name}" in given}
    refuse_others(here, found.source, description)
    unknown = {
        name: name if "." in name else "encoder.image_size" if name == "image_shape" else f"encoder.{name}"
        for name in description.unknown
    }
    lacking = {
        name: key for name, key in unknown.items() if key not in given and getattr(config, key.partition(".")[0])
    }
    if lacking:
        shown = " ".join(f"--set {key}=..." for key in lacking.values())
        raise ValueError(f"{found.source} does not tell {' and '.join(lacking)} of its model: type {shown}, as it has")
    return config


def _encoder_settings(description: Description, before: Any) -> ViT:
    """The settings of the encoder in a file; those that no file tells are the recipe's."""
    known = {name: plain(value) for name, value in description.encoder.items()}
    height, width, channels = known.pop("image_shape", ViT().image_shape)
    names = {field.name for field in dataclasses.fields(ViT)} - {"mean", "std", "drop_path_rate", "preset"}
    settings = {name: value for name, value in known.items() if name in names}
    sizes = ("hidden_dim", "num_layers", "num_heads")
    alike = [name for name, one in PRESETS.items() if all(one[size] == known.get(size) for size in sizes)]
    settings |= {"preset": alike[0]} if alike else {}
    settings["drop_path_rate"] = getattr(before, "drop_path_rate", 0.0)
    return ViT(image_size=(height, width), channels=channels, **settings)


def with_statistics(
    config: TrainingT, source: Source, channels: int, folder: run.RunFolder, resume: bool, photographs: bool
) -> TrainingT:
    """The config with mean and standard deviation of the images, where it leaves them open and they are needed.

    Args:
        config: has `encoder.mean` and `encoder.std`.
        source: the images, of which a sample is measured, always the same.
        channels: of the model's images.
        folder: of the run; with `resume` the numbers are those of its config, if it has one.
        resume: whether the run is continued.
        photographs: whether ImageNet's numbers hold.
    """
    open_ones = [name for name in ("mean", "std") if getattr(config.encoder, name) is None]
    if photographs or not open_ones:
        return config
    there: Any = folder.config_if_any() if resume else None
    if there is not None and there.program == config.program:
        known = {name: getattr(there.encoder, name) for name in open_ones}
    else:
        stats = measure_stats(source, channels)
        known = {name: getattr(stats, name) for name in open_ones}
        shown = " ".join(f"--set '{name}={value}'" for name, value in known.items())
        _log.info(
            "measured on %d images, as they are no 8-bit photographs in three channels: %s", stats.num_images, shown
        )
    return replaced(config, **{f"encoder.{name}": value for name, value in known.items()})


def channels_of(own: Weights, channels: int) -> str | tuple[int | None, ...]:
    """Where the weights of each of the images' channels come from, for `load_checkpoint`; a ValueError if one lacks."""
    if own.init_channels is not None and len(own.init_channels) != channels:
        raise ValueError(
            f"init_channels has a channel of the file, or None for their mean, for each of the {channels} channels of "
            f"the images: got {own.init_channels}"
        )
    return own.init_channels or "mean"


def load_into(model: MaskedImageModel, config: PretrainConfig) -> tuple[PretrainConfig, dict[str, Any]]:
    """Fills a model with the weights that its config names: all of it, or the encoder if the file has no such decoder.

    Returns:
        The config with the number of epochs in which the encoder is frozen, and the record for `config.json`.

    Raises:
        ValueError: if the file's encoder is another than the config's; what differs is named.
    """
    own = config.run
    weights = find_weights(own, run.MODEL)
    description = weights.description
    weights.say()
    check_same(model, weights.source, description)
    target = target_of(weights.source, description)
    lacking = why_fresh(model, config, description, target)
    shape, (rows, columns) = description.encoder.get("image_shape"), model.encoder.patch_size
    report = load_checkpoint(
        model.encoder if lacking else model,
        weights.path,
        description.format,
        resize_positions=True if shape is None else (shape[0] // rows, shape[1] // columns),
        prefix=description.prefix,
        channels_from=channels_of(own, model.encoder.image_shape[-1]),
    )
    if config.optimizer.frozen_epochs is None:
        config = replaced(config, frozen_epochs=config.optimizer.epochs / 10 if lacking else 0.0)
    if not lacking and target is None:
        _log.info(
            "%s does not tell whether its decoder predicts plain pixels or those of each patch normalised: it goes on "
            "with %s (--set normalize_target=%s for the other)",
            weights.source, target_here(model), not getattr(model.target, "normalize", False),
        )  # fmt: skip
    if lacking:
        _log.info(
            "the decoder starts fresh, as %s; %s", lacking, _said_of_frozen(config.optimizer.frozen_epochs or 0.0)
        )
    record = weights.record(report)
    if lacking:
        inside = {id(variable) for variable in model.encoder.weights}
        record["summary"]["fresh"] += [v.path for v in model.trainable_variables if id(v) not in inside]
    return config, record


def _said_of_frozen(epochs: float) -> str:
    if not epochs:
        return "it is trained together with the encoder from the first step (--set frozen_epochs=0)"
    return f"for the first {epochs:g} epochs it learns alone, and the encoder stays as it is (frozen_epochs)"
