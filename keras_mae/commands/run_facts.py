"""What a model card says of a run: from its config, its log, its results and its pictures."""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from keras_mae.checkpoints.known_files import licence_of
from keras_mae.trainers.nearest_recipe import GIVEN, nearest_recipe
from keras_mae.trainers.run import BEST, CONFIG, LOG, PICTURES, RECONSTRUCTIONS, RESULTS, RunFolder, digest_of
from keras_mae.trainers.settings import Config, values_of
from keras_mae.trainers.trained_model import find_model, is_ours

# What a run's results measure, its name on a card, and whether it is shown in percent
_MEASURES = {
    "top1": ("top-1", True),
    "top5": ("top-5", True),
    "mean_iou": ("mean IoU", True),
    "pixel_accuracy": ("pixel accuracy", True),
    "auc": ("mean AUC", False),
    "knn": ("kNN top-1", True),
    "ridge": ("ridge probe top-1", True),
    "knn_auc": ("kNN mean AUC", False),
    "ridge_auc": ("ridge probe mean AUC", False),
    "knn_r2": ("kNN R^2", False),
    "ridge_r2": ("ridge probe R^2", False),
    "consistency": ("two crops of an image are nearest neighbours", True),
    "rankme": ("RankMe", False),
    "rmse": ("RMSE", False),
    "normalised_rmse": ("RMSE, in shares of the labels' standard deviations", True),
}


def licence_of_run(path: str) -> tuple[str | None, str | None]:
    """The licence that came with the weights that a run began with, and where these came from.

    Both are None for fresh weights; the licence alone is None if none is stated, or the weights are gone.

    Args:
        path: the folder of a run, or any source of weights.
    """
    file = path
    if path.endswith(".keras") and os.path.isfile(path):
        path = find_model(path).folder or path
    folder = RunFolder(os.path.abspath(path))
    if not os.path.isdir(folder.path) or not is_ours(folder.path):
        inside = os.path.join(path, "model.safetensors") if os.path.isdir(path) else path
        return licence_of(file, inside), shown_path(file)
    init = _record(folder).get("init") or {}
    source = init.get("source") or _first_weights(folder.config()[0])
    if init.get("licence") or source is None:
        return init.get("licence"), shown_path(source)
    return licence_of_run(source)


def _first_weights(config: Config) -> str | None:
    """The setting that names the weights that a run began with."""
    return next((str(value) for name, value in values_of(config).items() if name in GIVEN and value), None)


def _record(folder: RunFolder) -> dict[str, Any]:
    with open(folder / CONFIG, encoding="utf-8") as file:
        return json.load(file)


def shown_path(source: str | None) -> str | None:
    """A source of weights as a card shows it: without the folders above it, which are nobody's business."""
    return source if source is None or "://" in source else os.path.basename(source.rstrip("/"))


def shown_data(data: str) -> str:
    """A data specification as a card shows it, likewise."""
    kind, _, place = re.sub(r"^(memory:|disk:.*?:(?=[a-z]+:))+", "", data).partition(":")
    if kind == "tfds":
        return f"{kind}:{place.partition('@')[0]}"
    names = [os.path.basename(part.rstrip("/")) for part in place.split(",")]
    return f"{kind}:{','.join(names)}" if place else kind


def data_of(folder: RunFolder, encoder: Any) -> dict[str, str]:
    """What a run was trained on, in words."""
    _, data = folder.config()
    seen, (height, width, channels) = folder.seen(), encoder.image_shape
    pixels = encoder.normalize_pixels
    count, classes = seen.get("num_images"), seen.get("class_names") or ()
    return {
        "source": f"`{shown_data(data)}`",
        **({"images": f"{count:,}"} if isinstance(count, int) else {}),
        **({"bits a channel": "16" if seen["dtype"] == "uint16" else "8"} if "dtype" in seen else {}),
        **({"classes": f"{len(classes)}"} if classes else {}),
        "size": f"{height} x {width} pixels, {channels} {'channel' if channels == 1 else 'channels'}",
        "mean and std": f"{_rounded(pixels.mean)}, {_rounded(pixels.std)}, of pixels in [0, 1]",
        **({"digest of what was seen": f"`{seen['digest']}`"} if "digest" in seen else {}),
    }


def typed_settings(config: Config) -> tuple[str | None, list[str]]:
    """The recipe that a config differs least from, and the settings to type; no paths that no weight depends on."""
    recipe, differing = nearest_recipe(config)
    idle = ("labelled_data", "labels") if config.program == "pretrain" else ()
    return recipe, [one.typed for one in differing if one.name not in idle]


def command_of(config: Config, recipe: str | None, settings: Sequence[str]) -> str:
    """The line that trains with this config; paths of data and runs are left to the reader."""
    words = ["keras-mae", config.program, "--data=DATA", "--output=RUN"]
    for name, value in values_of(config).items():
        if name in GIVEN and value is not None:
            words.append(f"--{name.rpartition('.')[2]}={shlex.quote(shown_path(value) or '')}")
    words += [f"--recipe={recipe}"] if recipe else []
    return " ".join([*words, *(f"--set {shlex.quote(setting)}" for setting in settings)])


def recipe_of(config: Any, recipe: str | None, losses: Sequence[float]) -> dict[str, str]:
    """How a run was trained, in words."""
    optimizer = config.optimizer
    return {
        **({"recipe": f"`{recipe}`"} if recipe else {}),
        "epochs": f"{len(losses)} of {optimizer.epochs}"
        if 0 < len(losses) < optimizer.epochs
        else f"{optimizer.epochs}",
        "images in a batch": f"{optimizer.batch_size:,}",
        "peak learning rate": f"{optimizer.peak_learning_rate:.3g}",
        **({"last loss": f"{losses[-1]:.4g}"} if losses else {}),
    }


def losses_of(folder: RunFolder) -> list[float]:
    """The loss of each epoch; empty if there is no log."""
    if not os.path.isfile(folder / LOG):
        return []
    with open(folder / LOG, encoding="utf-8") as file:
        records = [json.loads(line) for line in file if line.endswith("\n")]
    return [float("nan") if record.get("loss") is None else float(record["loss"]) for record in records]


def pictures_of(folder: RunFolder) -> list[str]:
    """The paths of a run's last picture of reconstructions, and of the one that `keras-mae reconstruct` has drawn."""
    found = sorted(filter(os.path.isfile, glob.glob(os.path.join(glob.escape(folder / PICTURES), "*.png"))))
    by_epoch = [path for path in found if os.path.basename(path) != RECONSTRUCTIONS]
    drawn = [os.path.join(folder / PICTURES, RECONSTRUCTIONS), folder / RECONSTRUCTIONS]
    drawn = list(filter(os.path.isfile, drawn))
    return [*by_epoch[-1:], *drawn[:1]]


def quality_of(folder: RunFolder, others: Sequence[str]) -> list[tuple[str, str]]:
    """Rows of accuracies: the run's own, of its best epoch, and those of other runs that measure its encoder.

    Raises:
        ValueError: if another folder has no results, or measures another encoder.
    """
    rows = []
    if os.path.isfile(folder / RESULTS):
        of_best = os.path.isfile(folder / BEST)
        rows = _rows(folder, of_best)
        if of_best and folder.config()[0].program == "pretrain":  # its encoder.keras is that of the last epoch
            rows = [*_rows(folder), *rows]
    for path in others:
        other = RunFolder(path)
        config, _ = other.config()
        _check_same_encoder(folder, other, getattr(getattr(config, "encoder", None), "run", None))
        if not os.path.isfile(other / RESULTS):
            raise ValueError(f"{path} has no {RESULTS}: the run has not finished")
        rows += _rows(other)
    return rows


def _check_same_encoder(folder: RunFolder, other: RunFolder, measured: str | None) -> None:
    """Refuses the results of a run on another encoder."""
    home, real = os.path.realpath(folder.path), os.path.realpath(measured or os.curdir)
    if measured is not None and (real == home or os.path.dirname(real) == home):
        return
    files = [path for path in glob.glob(os.path.join(glob.escape(folder.path), "*.keras")) if os.path.isfile(path)]
    if _record(other).get("loaded") in [digest_of(path) for path in files]:
        return
    raise ValueError(f"the results in {other.path} are of {measured or 'fresh weights'}, and not of {folder.path}")


def _rows(folder: RunFolder, of_best: bool = False) -> list[tuple[str, str]]:
    """The measures in a run's `results.json`: of its last epoch, or of the best, which these images have chosen."""
    with open(folder / RESULTS, encoding="utf-8") as file:
        results = json.load(file)
    if "program" not in results:  # the demo's
        return _rows_of_demo(results)
    config, data = folder.config()
    data = getattr(getattr(config, "evaluation", None), "labelled_data", None) or data
    images = results.get("validation_images", results.get("compared_images"))
    where = f"{results['program']}, {images} images of `{shown_data(data)}`"
    best = results.get("best") if of_best else None
    measured = {name: (best or results)[name] for name in _MEASURES if name in (best or results)}
    number = results.get("evaluations", results.get("epochs"))
    chosen = f", the best of {number} epochs on these images" if best else ""
    if results["program"] == "pretrain" and not best:
        chosen = ", the last epoch"
    rows = []
    for name, value in measured.items():
        said, in_percent = _MEASURES[name]
        for which, number in _each(name, value):
            shown = "-" if number is None else f"{100 * number:.1f} %" if in_percent else f"{number:.4g}"
            rows.append((f"{said}{which} ({where}{chosen})", shown))
    if "majority_share" in results:
        rows.append((f"always the largest class ({where})", f"{100 * results['majority_share']:.1f} %"))
    return rows


def _each(name: str, value: Any) -> list[tuple[str, float | None]]:
    """The numbers of a measure: one, one for each k of kNN or each output, or one for each k and output."""
    if not isinstance(value, dict):
        return [("", value)]
    if not any(isinstance(inner, dict) for inner in value.values()):
        return [(f" of {key}" if name == "rmse" else f", k = {key}", number) for key, number in value.items()]
    return [(f" of {key}, k = {k}", number) for k, inner in value.items() for key, number in inner.items()]


def _rows_of_demo(results: dict[str, Any]) -> list[tuple[str, str]]:
    measured = results.get("accuracy", {}).get("pretrained encoder", {})
    kinds = {"linear_probe": "logistic regression", "knn": "kNN", "10_labels_per_class": "10 labels a class"}
    return [
        (f"{said} on its features (keras-mae demo, 1,000 other digits)", f"{100 * measured[kind]:.1f} %")
        for kind, said in kinds.items()
        if kind in measured
    ]


def _rounded(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
