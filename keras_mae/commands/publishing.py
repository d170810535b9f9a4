"""`keras-mae card` and `push`: a run's weights in a folder with a model card, and on the Hugging Face Hub."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import tempfile
from typing import Any

from absl import flags

from keras_mae.commands.command import Command
from keras_mae.registry import with_article

_log = logging.getLogger("keras_mae")


def _define_card(values: flags.FlagValues, run: str) -> None:
    """Defines the flags of a card; `run` is the help of `--run`."""
    flags.DEFINE_string("run", None, run, flag_values=values)
    flags.DEFINE_multi_string(
        "results",
        [],
        "another run that measures the same encoder, of knn, linear-probe or finetune, for the table of measured "
        "quality; may be given again",
        flag_values=values,
    )
    flags.DEFINE_string(
        "licence",
        None,
        "the licence of weights that were trained from scratch, which are your own: apache-2.0, mit, cc-by-4.0, ...; a "
        "licence that came with the initial weights stays",
        flag_values=values,
    )


def _card_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    _define_card(values, "the folder of a finished run of pretrain, finetune, linear-probe or segment")
    flags.DEFINE_string("output", None, "the folder to write, which is not there yet, or empty", flag_values=values)
    return values


def _push_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "to", None, "the repository: hf://OWNER/NAME, which may also stand without --to", flag_values=values
    )
    flags.DEFINE_string("folder", None, "the folder that keras-mae card has written", flag_values=values)
    _define_card(values, "a finished run, in place of --folder: its card is written and uploaded")
    flags.DEFINE_bool("private", False, "a new repository is seen by its owner alone", flag_values=values)
    return values


def _check_card(values: flags.FlagValues) -> None:
    """Refuses what cannot be written."""
    _check_run(values)
    _check_free(values.output)


def _check_free(output: str) -> None:
    """Refuses an output that holds something."""
    if os.path.lexists(output) and not os.path.isdir(output):
        raise ValueError(f"--output={output} is there, and is no folder; name another")
    if os.path.isdir(output) and os.listdir(output):
        raise ValueError(f"the folder {output} is there already, and is not empty: name another --output")


def _check_push(values: flags.FlagValues) -> None:
    """Refuses a target that is no repository, and a folder or run that cannot be uploaded."""
    if not values.to.startswith("hf://") or values.to.count("/") != 3 or "@" in values.to:
        raise ValueError(f"a repository to write to is hf://OWNER/NAME; got {values.to}")
    if (values.folder is None) == (values.run is None):
        raise ValueError("what to upload is --folder, which keras-mae card has written, or --run: give one of them")
    if values.folder is not None:
        given = [f"--{flag}" for flag in ("results", "licence") if values[flag].value]
        if given:
            raise ValueError(f"{given[0]} is for a card that is written, with --run; {values.folder} has its own")
        return
    _check_run(values)


def _check_run(values: flags.FlagValues) -> None:
    """Refuses a run that is not finished, and a licence that is not the user's to choose."""
    from keras_mae.trainers import run

    folder = run.RunFolder(values.run)
    if os.path.isfile(values.run):
        raise ValueError(f"--run={values.run} is a file; a card needs the folder of a run, which tells how it was made")
    config, _ = folder.config()
    if not hasattr(config, "optimizer"):
        raise ValueError(
            f"{values.run} is a run of keras-mae {config.program}, which trains nothing: name it with --results"
        )
    folder.model_path(run.MODEL)
    if values.licence and not values.licence.replace("-", "").replace(".", "").replace("+", "").isalnum():
        raise ValueError(f"--licence is a name such as apache-2.0 or cc-by-4.0; got {values.licence!r}")


def _card(values: flags.FlagValues) -> None:
    from keras_mae.export.folder_aside import folder_aside

    with folder_aside(values.output) as aside:
        written = write_card(aside, values.run, os.path.basename(os.path.abspath(values.output)), values)
        _check_free(values.output)  # once more: another process may have written it
    print(f"wrote {values.output}: {', '.join(written)}")


def _push(values: flags.FlagValues) -> None:
    from keras_mae.export import hub_upload

    if values.folder is not None:
        hub_upload.check_folder(values.folder)
    _, repository = hub_upload.check_access(values.to)
    with tempfile.TemporaryDirectory() as aside:
        if values.run is not None:
            write_card(aside, values.run, repository.partition("/")[2], values)
        folder = values.folder or aside
        address = hub_upload.upload(folder, values.to, values.private)
    print(f"wrote {address}")


def write_card(folder: str, path: str, name: str, values: flags.FlagValues) -> list[str]:
    """Writes weights, config, pictures and the model card of a run into an empty folder; returns the files' names.

    Args:
        folder: to write.
        path: the run's folder.
        name: the title of the card.
        values: flags: `results` and `licence`.

    Raises:
        ValueError: if the run is not finished, or the licence is not the user's to choose.
    """
    import keras
    import tensorflow as tf

    import keras_mae
    from keras_mae.commands import run_facts
    from keras_mae.export.hub_upload import CURVE
    from keras_mae.export.model_card import README, ModelCard
    from keras_mae.export.weights_folder import write_weights
    from keras_mae.models import ImageClassifier
    from keras_mae.models.masked_image_model import MaskedImageModel
    from keras_mae.models.saved_files import load_model_file
    from keras_mae.trainers import pictures, run
    from keras_mae.trainers.trained_model import find_model

    home = run.RunFolder(path)
    config: Any = home.config()[0]
    licence, origin = _licence(path, values.licence)
    # of pretraining the last epoch, as --run=RUN takes it everywhere
    best = os.path.isfile(home / run.BEST) and config.program != "pretrain"
    quality = run_facts.quality_of(home, values.results)
    trained = find_model(path, run.BEST if best else run.MODEL)
    model = load_model_file(trained.path)
    is_classifier = isinstance(model, ImageClassifier)
    kept = model if is_classifier else model.encoder
    if not isinstance(model, (ImageClassifier, MaskedImageModel)):
        _log.info(
            "no library here has a place for %s: its encoder is written alone", with_article(type(model).__name__)
        )
    names = trained.seen.get("label_names") or trained.seen.get("class_names") or ()
    weights = write_weights(kept, folder, licence, names, trained.crop_ratio)
    losses = run_facts.losses_of(home)
    if losses:
        title = "pretraining loss" if config.program == "pretrain" else "training loss"
        pictures.save(pictures.loss_curve(losses, title=title), os.path.join(folder, CURVE))
    else:
        _log.info("%s has no log: the card has no curve of the loss", path)
    shown = run_facts.pictures_of(home) if config.program == "pretrain" else []
    for picture in shown:
        shutil.copyfile(picture, os.path.join(folder, os.path.basename(picture)))
    if shown:
        _log.info("the card shows training images, in %s", ", ".join(map(os.path.basename, shown)))
    elif config.program == "pretrain":
        _log.info("%s has no pictures: the card has none; keras-mae reconstruct --run=%s draws them", path, path)
    recipe, settings = run_facts.typed_settings(config)
    card = ModelCard(
        name=name,
        summary=_summary(config.program, model, weights.model, best),
        method=_method(model),
        licence=licence,
        origin=origin,
        data=run_facts.data_of(home, model.encoder),
        recipe=run_facts.recipe_of(config, recipe, losses),
        command=run_facts.command_of(config, recipe, settings),
        quality=quality,
        curve=CURVE if losses else None,
        pictures=[os.path.basename(picture) for picture in shown],
        versions={
            "keras_mae": keras_mae.__version__,
            "TensorFlow": tf.__version__,
            "Keras": keras.__version__,
            "Python": platform.python_version(),
        },
        pixel_dtype=trained.seen.get("dtype") or "uint8",
    )
    with open(os.path.join(folder, README), "w", encoding="utf-8") as file:
        file.write(card.text(weights))
    return sorted(os.listdir(folder))


def _method(model: Any) -> str:
    """The tag of what a model was trained for."""
    kinds = {"ImageClassifier": "image-classification", "ImageRegressor": "image-regression"}
    kinds |= {"ImageSegmenter": "image-segmentation", "SimMIM": "simmim"}
    return kinds.get(type(model).__name__, "mae")


def _licence(path: str, asked: str | None) -> tuple[str | None, str]:
    """The licence of a run's weights, and a sentence on where it comes from."""
    from keras_mae.commands.run_facts import licence_of_run

    licence, source = licence_of_run(path)
    if licence is not None:
        if asked not in (None, licence):
            raise ValueError(
                f"the weights began with {source}, whose licence, {licence}, stays with them; leave out --licence"
            )
        return licence, f"The training began with the weights {source}, whose licence this is; it stays with them."
    if asked is None:
        _log.warning(
            "the card names no licence (license: other): name that of your weights with --licence=apache-2.0, ..."
        )
    if source is not None:
        said = f"The training began with the weights {source}, whose licence is not stated where they were read"
        return asked, f"{said}{'; the author of this card has named this one.' if asked else '.'}"
    if asked is None:
        return None, "The weights were trained from scratch; they are their author's own, who has not named a licence."
    return asked, "The weights were trained from scratch; they are their author's own."


def _summary(program: str, model: Any, kept: Any, best: bool) -> str:
    """What the model is, in a paragraph."""
    encoder = model.encoder
    height, width = encoder.patch_size
    sizes = (
        f"a Vision Transformer, {encoder.num_layers} blocks deep and {encoder.hidden_dim} wide, with "
        f"{encoder.num_heads} heads and patches of {height} x {width} pixels ({encoder.count_params():,} parameters)"
        if hasattr(encoder, "num_heads")
        else f"{with_article(type(encoder).__name__)} ({encoder.count_params():,} parameters)"
    )
    if program == "pretrain":
        kind = {"MaskedAutoencoder": "a masked autoencoder (MAE)"}.get(type(model).__name__, type(model).__name__)
        return f"The encoder of {kind}, pretrained on images without labels: {sizes}."
    of_epoch = ", from the epoch that was the best on the images to test on" if best else ""
    if kept is model:
        what = "labels, of which an image may have several," if model.multi_label else "classes"
        return f"A classifier of {model.num_classes} {what}{of_epoch}: {sizes}, and a linear layer."
    head = {"ImageRegressor": "regressor", "ImageSegmenter": "segmenter"}.get(type(model).__name__, "classifier")
    return f"The encoder of a {head}{of_epoch}: {sizes}. The {head}'s own layers are not in the files."


CARD = Command(
    "write a run's weights and a model card into a folder, for timm, transformers and the Hugging Face Hub",
    _card_flags,
    _card,
    ("run", "output"),
    _check_card,
)
PUSH = Command(
    "upload a folder with a model card, or a run, to the Hugging Face Hub",
    _push_flags,
    _push,
    ("to",),
    _check_push,
    positional="to",
)
