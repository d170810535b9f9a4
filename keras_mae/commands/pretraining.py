"""`keras-mae demo`, `pretrain` and `reconstruct`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from absl import flags

from keras_mae.commands.command import (
    Command,
    check_init,
    check_output,
    config_of,
    define_data,
    define_init,
    define_run,
    settings_of_flags,
)

if TYPE_CHECKING:
    from keras_mae.trainers.auto_recipe import AutoRecipe
    from keras_mae.trainers.config import PretrainConfig

_AUTO = "auto"  # the recipe that is none
_CONTINUES = "_continue"  # the end of the names of recipes that need weights


def _demo_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("output", "runs/demo", "the run folder to write", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "discard the run that is in the output folder", flag_values=values)
    flags.DEFINE_integer("seed", 0, "the seed of every random number", flag_values=values)
    return values


def _demo(values: flags.FlagValues) -> None:
    from keras_mae import demo

    demo.run_demo(values.output, overwrite=values.overwrite, seed=values.seed)


def _pretrain_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define_data(values)
    flags.DEFINE_string(
        "stats", None, "a file that keras-mae stats has written: mean and std of the pixels", flag_values=values
    )
    flags.DEFINE_string(
        "labelled_data", None,
        "images with labels, as for --data, by which features are measured while training (--set evaluate_every=...); "
        "not given, the labels that the data have, if any. Weights never depend on labels",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string(
        "labels",
        None,
        "a table of labels for that, a CSV or Parquet file with a row for each image",
        flag_values=values,
    )
    flags.DEFINE_string(
        "label_columns", None, "the columns of these labels; see keras-mae knn --help", flag_values=values
    )
    define_init(values)
    define_run(values, "auto")
    flags.DEFINE_string(
        "data_service", None, "a tf.data service that prepares the images: grpc://HOST:PORT", flag_values=values
    )
    return values


def _check_pretrain(values: flags.FlagValues) -> None:
    """Refuses settings that cannot work; the files of `--stats` and `--init` are read after TensorFlow's import."""
    from keras_mae.trainers.checks import check_together, check_weights

    check_output(values)
    config, recipe = _chosen(values, [])
    if recipe is not None:
        recipe.check()
    check_weights(config)
    check_init(values, config.run.init)
    if config.run.init is None and values.recipe.endswith(_CONTINUES):
        raise ValueError(f"--recipe={values.recipe} goes on from weights: name them with --init")
    if config.run.init is not None and values["recipe"].present and values.recipe == _AUTO and not values.resume:
        raise ValueError("--recipe=auto chooses sizes, and --init brings those of its model: leave out --recipe=auto")
    if recipe is None and values.stats is None and config.run.init is None:
        check_together(config)


def _chosen(values: flags.FlagValues, settings: list[str]) -> tuple[PretrainConfig, AutoRecipe | None]:
    """The config of what is typed, and the recipe that is to choose all that is left open, if there is one.

    Without a recipe `--resume` continues with the settings of the run that is there.
    """
    from keras_mae.trainers.auto_recipe import AutoRecipe
    from keras_mae.trainers.config import PretrainConfig
    from keras_mae.trainers.run import CONFIG, RunFolder

    settings = [*settings, *values.set]
    if values.recipe != _AUTO:
        return config_of(values, "pretrain", settings), None
    recipe = AutoRecipe.of_settings([*settings, *_of_flags(values)])
    folder = RunFolder(values.output)
    if values.resume and os.path.exists(folder / CONFIG):
        return config_of(values, "pretrain", base=recipe.resumed(folder)), None
    config = config_of(values, "pretrain", settings, base=PretrainConfig())
    return config, recipe if config.run.init is None else None


def _of_flags(values: flags.FlagValues) -> list[str]:
    return [f"{name}={value}" for name, value in settings_of_flags(values).items()]


def _pretrain(values: flags.FlagValues) -> None:
    from keras_mae.trainers.pretrain import pretrain

    config, recipe = _chosen(values, settings := stats_settings(values.stats))
    goes_on = values.resume and values.recipe == _AUTO
    if config.run.init is not None and not goes_on:
        from keras_mae.trainers.first_weights import continued

        named = values.recipe if values["recipe"].present else None
        config = continued(config.run, [*settings, *values.set, *_of_flags(values)], named)
    pretrain(
        recipe or config,
        values.data,
        values.output,
        resume=values.resume,
        overwrite=values.overwrite,
        strategy=values.strategy,
        tpu=values.tpu,
        data_service=values.data_service,
    )
    print(f"wrote {values.output}")


def stats_settings(path: str | None) -> list[str]:
    """Mean and standard deviation that `keras-mae stats` has written, as settings."""
    if path is None:
        return []
    from keras_mae.data.stats import read_stats

    stats = read_stats(path)
    return [f"mean={stats.mean}", f"std={stats.std}", f"channels={len(stats.mean)}"]


def _reconstruct_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "run", None, "the folder of a pretraining run, or a model's file: FILE.keras", flag_values=values
    )
    flags.DEFINE_string("data", None, "the images, as for pretrain; the run's own if not given", flag_values=values)
    flags.DEFINE_string("output", None, "the PNG to write; in the run folder if not given", flag_values=values)
    flags.DEFINE_integer(
        "count", 16, "how many images: a random sample, always the same", lower_bound=1, flag_values=values
    )
    flags.DEFINE_float(
        "mask_ratio", None, "share of the patches to mask; the run's own if not given", flag_values=values
    )
    return values


def _check_picture(values: flags.FlagValues) -> None:
    """Refuses an output that is not the name of a PNG file, before the model is loaded."""
    output = values.output
    if output is None:
        return
    folder = os.path.isdir(output)
    if folder or not output.lower().endswith(".png"):
        name = os.path.join(output, "seen.png") if folder else f"{output}.png"
        raise ValueError(f"--output={output} is not the name of a PNG file; type --output={name}")


def _reconstruct(values: flags.FlagValues) -> None:
    from keras_mae.data import Decoding, open_source, sample_images
    from keras_mae.models.masked_image_model import MaskedImageModel
    from keras_mae.models.saved_files import load_model_file
    from keras_mae.trainers import run
    from keras_mae.trainers.config import PretrainConfig
    from keras_mae.trainers.labelled_data import check_channels
    from keras_mae.trainers.pretrain import draw_reconstructions
    from keras_mae.trainers.trained_model import find_model, read_as_trained, say_if_outside

    trained = find_model(values.run, run.MODEL)
    config, data, output = trained.config, values.data or trained.data, values.output
    if config is not None and not isinstance(config, PretrainConfig):
        raise ValueError(f"{values.run} is a run of keras-mae {config.program}; reconstruct needs one of pretrain")
    if trained.folder is not None:
        output = output or os.path.join(trained.folder, run.PICTURES, "reconstructions.png")
    if data is None or output is None:
        raise ValueError(
            f"{values.run} lies in no run's folder: give --data, the images, and --output, the PNG to write"
        )
    say_if_outside(trained, f"the crop ratio is {trained.crop_ratio}")
    decoding = Decoding() if config is None else config.data.decoding()
    source = open_source(data, decoding=decoding)
    read_as_trained(trained.seen.get("dtype"), trained.path, source)
    mae = load_model_file(trained.path)
    if not isinstance(mae, MaskedImageModel):
        raise ValueError(f"{trained.path} holds {type(mae).__name__}; reconstruct needs MaskedAutoencoder or SimMIM")
    check_channels(source, mae.encoder.image_shape[-1])
    images = sample_images(source, mae.encoder.image_shape, values.count, trained.crop_ratio)
    draw_reconstructions(mae, images, output, mask_ratio=values.mask_ratio)
    print(f"wrote {output}")


DEMO = Command("pretrain, look, probe and export on built-in digits, in minutes", _demo_flags, _demo)
PRETRAIN = Command(
    "pretrain a masked autoencoder on your images", _pretrain_flags, _pretrain, ("data", "output"), _check_pretrain
)
RECONSTRUCT = Command(
    "draw what a pretrained model makes of masked images", _reconstruct_flags, _reconstruct, ("run",), _check_picture
)
