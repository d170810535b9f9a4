"""`keras-mae demo`: pretrains on built-in digits; draws, measures and exports the result; and maps other digits."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from importlib import metadata

import numpy as np

from keras_mae.data import ArraySource, open_source
from keras_mae.data.sources import digits_source
from keras_mae.encoders import Encoder
from keras_mae.export import export_encoder
from keras_mae.models import MaskedAutoencoder
from keras_mae.one_writer import released
from keras_mae.retrieval import open_vectors
from keras_mae.retrieval.embedder import embedder_of
from keras_mae.retrieval.embedding import embed_source
from keras_mae.retrieval.map import write_map
from keras_mae.retrieval.projection import check_method
from keras_mae.trainers import evaluation, pictures, recipes, run
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.encoder_choice import load_encoder
from keras_mae.trainers.pretrain import build, draw_reconstructions, pretrain
from keras_mae.trainers.reference_loss import reference_loss
from keras_mae.trainers.settings import changed

_log = logging.getLogger("keras_mae")
_RECIPE = "mae_digits"
_FEW = 10
_FEW_DRAWS = 5
_CHECKED = 16


@released()
def run_demo(output: str, overwrite: bool = False, settings: tuple[str, ...] = (), seed: int = 0) -> dict:
    """Runs the demo and returns the content of `results.json`.

    Args:
        output: the run folder.
        overwrite: whether to discard an existing run.
        settings: `key=value` changes of the recipe.
        seed: of everything random.
    """
    begin = time.perf_counter()
    check_method("umap")  # which is needed at the end
    config = changed(recipes.load(_RECIPE, PretrainConfig), ["evaluate_every=0", *settings, f"seed={seed}"])
    train, test = digits_source("train"), digits_source("test")

    _log.info("1/5  pretraining on %d digits, without their labels", train.num_images)
    mae = pretrain(config, "digits", output, overwrite=overwrite)
    seconds = {"pretraining": time.perf_counter() - begin}
    folder = run.RunFolder(output)

    draw_reconstructions(mae, test.images[:24], folder / run.RECONSTRUCTIONS)
    reference = reference_loss(mae, train.images)
    pictures.save(pictures.loss_curve(_losses(folder), reference), folder / run.LOSS_CURVE)
    _log.info("2/5  wrote %s and %s", folder / run.RECONSTRUCTIONS, folder / run.LOSS_CURVE)

    _log.info("3/5  measuring: what are the features worth?")
    rows = _feature_rows(mae, build(config), train, test)
    fine_tuning = _fine_tuning(mae, build(config), train, test)
    _log.info("\n%s\n", table(rows, fine_tuning))
    largest = evaluation.majority_share(test.required_labels())
    _log.info("     always answering the largest class: %.1f %% of %d digits", 100 * largest, test.num_images)
    seconds["measuring"] = time.perf_counter() - begin - seconds["pretraining"]

    path = export_encoder(
        mae.encoder, folder / run.SAVED_MODEL, crop_ratio=config.data.crop_ratio, images=test.images[:_CHECKED]
    )
    text = "a fresh process without keras_mae loads it, and gives the same embeddings from PNG files and uint8 arrays"
    _log.info("4/5  wrote %s: %s", path, text)

    drawn = _draw_map(folder, test, config.data.crop_ratio)
    _log.info("5/5  wrote %s: a map of %d digits that it has not seen; a browser opens it", drawn, test.num_images)
    seconds["total"] = time.perf_counter() - begin
    results = {
        "seed": seed,
        "recipe": _RECIPE,
        "final_loss": _losses(folder)[-1],
        "reference_loss": None if reference is None else round(reference.loss, 6),
        "majority_share": largest,
        "accuracy": rows,
        "fine_tuning_10_labels_per_class": fine_tuning,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "versions": _versions(),
    }
    folder.write_json(run.RESULTS, results)
    _log.info("     all figures are in %s; the demo took %.0f seconds", folder / run.RESULTS, seconds["total"])
    return results


def region_features(encoder: Encoder, images: np.ndarray) -> np.ndarray:
    """The class token, and the patch tokens of the middle 5 x 5 patches averaged over 3 x 3 regions.

    MNIST's digits are scaled to fit a box of 20 x 20 pixels in the middle of 28 x 28, which is 5 x 5 of the 7 x 7
    patches; the regions are 2, 1 and 2 patches high and wide. They keep positions, which distinguish digits and which a
    mean over the whole image loses.

    Args:
        encoder: of 28 x 28 pixels and 4 x 4 patches.
        images: uint8 `(N, 28, 28, 1)`.

    Returns:
        float32 `(N, 10 D)`.
    """
    tokens = encoder.predict(images, batch_size=250, verbose=0)
    grid = np.reshape(tokens["patch_tokens"], (len(images), 7, 7, -1))
    bounds = [(1, 3), (3, 4), (4, 6)]
    regions = [grid[:, top:bottom, left:right].mean(axis=(1, 2)) for top, bottom in bounds for left, right in bounds]
    return np.concatenate([tokens["cls_token"], *regions], axis=1)


def _feature_rows(mae: MaskedAutoencoder, fresh: MaskedAutoencoder, train: ArraySource, test: ArraySource) -> dict:
    """Test accuracies of three classifiers on three kinds of features, standardised for the linear ones."""
    kinds = {
        "pretrained encoder": lambda images: region_features(mae.encoder, images),
        "random encoder": lambda images: region_features(fresh.encoder, images),
        "raw pixels": lambda images: images.reshape(len(images), -1).astype("float32"),
    }
    train_y, test_y = train.required_labels(), test.required_labels()
    draws = [evaluation.few_labels(train_y, _FEW, seed) for seed in range(_FEW_DRAWS)]
    rows = {}
    for kind, features in kinds.items():
        train_x, test_x = features(train.images), features(test.images)
        knn = evaluation.knn_accuracy(train_x, train_y, test_x, test_y)
        train_x, test_x = evaluation.standardized(train_x, test_x)
        few = [evaluation.linear_accuracy(train_x[i], train_y[i], test_x, test_y) for i in draws]
        rows[kind] = {
            "linear_probe": evaluation.linear_accuracy(train_x, train_y, test_x, test_y),
            "knn": knn,
            "10_labels_per_class": float(np.mean(few)),
            "10_labels_per_class_std": float(np.std(few)),
        }
    return rows


def _fine_tuning(mae: MaskedAutoencoder, fresh: MaskedAutoencoder, train: ArraySource, test: ArraySource) -> dict:
    """Test accuracies after training the whole network on 10 labels a class."""
    train_y = train.required_labels()
    chosen = evaluation.few_labels(train_y, _FEW, seed=0)
    few = (train.images[chosen], train_y[chosen], test.images, test.required_labels())
    return {
        "pretrained": evaluation.fine_tuned_accuracy(mae.encoder, *few),
        "from_scratch": evaluation.fine_tuned_accuracy(fresh.encoder, *few),
    }


def table(rows: dict, fine_tuning: dict) -> str:
    """The results as text."""
    lines = [
        f"{'test accuracy, %':22}{'linear probe':>14}{'kNN':>8}{'10 labels a class':>20}",
        *(
            f"{kind:22}{100 * row['linear_probe']:>14.1f}{100 * row['knn']:>8.1f}"
            f"{100 * row['10_labels_per_class']:>13.1f} ± {100 * row['10_labels_per_class_std']:.1f}"
            for kind, row in rows.items()
        ),
        "",
        f"fine-tuned on 10 labels a class: {100 * fine_tuning['pretrained']:.1f} after pretraining, "
        f"{100 * fine_tuning['from_scratch']:.1f} from scratch",
    ]
    return "\n".join(lines)


def _draw_map(folder: run.RunFolder, test: ArraySource, crop_ratio: float) -> str:
    """Embeds the test digits, as `keras-mae embed` does, and draws their map; returns the page's path."""
    np.savez(folder / run.TEST_IMAGES, images=test.images, labels=test.required_labels())
    data = f"npz:{os.path.abspath(folder / run.TEST_IMAGES)}"
    encoder = os.path.abspath(folder / run.ENCODER)
    weights = {"kind": "run", "source": encoder, "digest": run.digest_of(encoder)}
    embedder = embedder_of(load_encoder(encoder), crop_ratio=crop_ratio)
    header = {"weights": weights, "data": data, "dtype": "float32"}
    embed_source(embedder, open_source(data), folder / run.VECTORS, header, overwrite=True)
    write_map(open_vectors(folder / run.VECTORS), folder / run.MAP, method="umap")
    return folder / run.MAP


def _losses(folder: run.RunFolder) -> list[float]:
    with open(folder / run.LOG, encoding="utf-8") as file:
        return [json.loads(line)["loss"] for line in file]


def _versions() -> dict[str, str]:
    packages = ("tensorflow", "keras", "numpy", "scikit-learn", "mlxtend")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
