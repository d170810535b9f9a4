"""Fine-tuning: what a run leaves behind, exact resume, early stop, partial fine-tuning, and bad input."""

import json
import os

import keras
import numpy as np
import pytest

import keras_mae.models  # noqa: F401  registers the classes
from keras_mae.data import Augmentation, FineTuningAugmentation
from keras_mae.trainers import run
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.finetune import build, finetune
from keras_mae.trainers.settings import replaced
from tests.base import weights_of
from tests.trainers.labelled import CLASSES, drawn_images, quick
from tests.trainers.pretraining import log_of, rewound

PLAIN = {"crop_scale": None, "flip": False, "rand_augment": None, "random_erasing": 0.0, "mixup": 0.0, "cutmix": 0.0}


@pytest.fixture
def config(given):
    return quick(FinetuneConfig, given, epochs=3, base_learning_rate=0.1, **PLAIN)


@pytest.fixture(scope="module")
def finished(given, tmp_path_factory):
    """A run with mixed images and drop path, so that everything random is in play: its folder, config, and results."""
    mixed = {**PLAIN, "mixup": 0.8, "cutmix": 1.0, "drop_path_rate": 0.3}
    config = quick(FinetuneConfig, given, epochs=6, base_learning_rate=0.1, **mixed)
    output = str(tmp_path_factory.mktemp("finetune") / "run")
    return output, config, finetune(config, given["data"], output)


@pytest.mark.medium
@pytest.mark.filterwarnings("error:Your input ran out of data")
def test_a_run(given, finished):
    output, config, results = finished
    folder = run.RunFolder(output)
    assert folder.config() == (replaced(config, dtype_policy="float32"), given["data"])
    assert set(os.listdir(output)) == {
        "config.json", "log.jsonl", "results.json", "tensorboard", "checkpoints", "model.keras", "best.keras",
        "encoder.keras", "seen.gz", "steps.jsonl", "report",
    }  # fmt: skip
    with open(folder / run.RESULTS, encoding="utf-8") as file:
        assert json.load(file) == results
    assert results["top1"] > 0.5 and results["top1"] <= results["top5"]  # one class in six by chance
    assert (results["num_classes"], results["train_images"], results["epochs"]) == (CLASSES, 48, 6)

    # an evaluation each epoch; the best is the highest of the lowest loss, the last is what model.keras is
    lines = log_of(folder)
    accuracies = [line["val_accuracy"] for line in lines]
    assert len(lines) == 6 and all({"val_loss", "val_top5_accuracy", "accuracy"} <= set(line) for line in lines)
    best = max(lines, key=lambda line: (line["val_accuracy"], -line["val_loss"]))
    assert results["best"] == {"epoch": best["epoch"], "top1": best["val_accuracy"], "loss": best["val_loss"]}
    assert (results["validation_images"], results["majority_share"]) == (24, round(4 / 24, 6))
    images, labels = drawn_images(24, seed=1)
    for name, expected in ((run.MODEL, results["top1"]), (run.BEST, results["best"]["top1"])):
        classifier = keras.saving.load_model(folder / name, compile=False)
        found = np.mean(np.argmax(classifier(images), axis=1) == labels)
        np.testing.assert_allclose(found, expected, atol=1e-6)  # results have six decimals
    assert results["top1"] == accuracies[-1] == results["report"]["top1"] and 0 < results["report"]["ece"] < 1
    names = ["confusions.csv", "calibration.png", "confusions.png", "curves.png"]
    assert sorted(os.listdir(folder / run.REPORT)) == sorted(names)


@pytest.mark.medium
def test_resume_is_exact(given, finished, tmp_path):
    """The best epoch is remembered, too."""
    whole, config, results = finished
    parts = rewound(whole, str(tmp_path / "run"), 15)  # after five epochs
    resumed = finetune(config, given["data"], parts, resume=True)
    models = [keras.saving.load_model(run.RunFolder(path) / run.MODEL, compile=False) for path in (whole, parts)]
    for one, other in zip(*map(weights_of, models), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {**resumed, "seconds": 0} == {**results, "seconds": 0}
    assert [line["epoch"] for line in log_of(run.RunFolder(parts))] == [1, 2, 3, 4, 5, 6]


@pytest.mark.medium
def test_stops_early_and_stays_stopped(given, config, tmp_path):
    """With a rate that moves no weight, no epoch is better than the first."""
    config = replaced(
        config, epochs=9, stop_after=2, base_learning_rate=1e-30, min_learning_rate=0.0, num_trainable_layers=0.5
    )
    results = finetune(config, given["data"], str(tmp_path / "run"))
    assert (results["epochs"], results["best"]["epoch"]) == (3, 1)
    again = finetune(config, given["data"], str(tmp_path / "run"), resume=True)
    assert {**again, "seconds": 0} == {**results, "seconds": 0} and len(log_of(tmp_path / "run")) == 3


@pytest.mark.medium
def test_half_a_block(given, config, tmp_path):
    """The MLP of the last block, the last norm and the head are trained; all else stays to the bit."""
    config = replaced(config, epochs=2, num_trainable_layers=0.5, labels_per_class=4, batch_size=8)
    results = finetune(config, given["data"], str(tmp_path / "run"))
    assert results["train_images"] == 4 * CLASSES
    before, after = (keras.saving.load_model(p) for p in (given["run"], tmp_path / "run" / "encoder.keras"))
    moved = {
        one.path.removeprefix("vit_encoder/")
        for one, other in zip(before.weights, after.weights, strict=True)
        if (keras.ops.convert_to_numpy(one) != keras.ops.convert_to_numpy(other)).any()
    }
    expected = {f"block_1/{part}" for part in ("norm2", "mlp_hidden", "mlp_output")} | {"norm"}
    assert {path.rsplit("/", 1)[0] for path in moved} == expected


@pytest.mark.medium
def test_the_last_norm_is_new_after_mean_pooling_and_the_rest_is_the_runs(given, config):
    encoder = keras.saving.load_model(given["run"])
    for pooling in ("mean", "cls"):
        classifier = build(replaced(config, pooling=pooling, drop_path_rate=0.2), CLASSES)
        norm = classifier.encoder.norm
        new = (np.asarray(norm.gamma) == 1).all() and (np.asarray(norm.beta) == 0).all()
        assert new == (pooling == "mean")
        for one, other in zip(encoder.weights, classifier.encoder.weights, strict=True):
            if "/norm/" not in one.path or pooling == "cls":
                np.testing.assert_array_equal(one, other)
        assert [block.drop_path_rate for block in classifier.encoder.blocks] == [0, 0.2]


def test_labels_are_smoothed_once(config):
    """Mixed labels come smoothed from the data."""
    assert build(config, CLASSES).label_smoothing == 0.1
    assert build(replaced(config, cutmix=1.0), CLASSES).label_smoothing == 0


def test_augmentation():
    policy = FinetuneConfig().data.build()
    assert isinstance(policy, FineTuningAugmentation)
    assert (policy.crop_scale, policy.flip, policy.crop_ratio) == ((0.08, 1.0), True, 0.875)
    assert (policy.rand_augment.magnitude, policy.rand_augment.std, policy.erasing) == (9.0, 0.5, 0.25)
    plain = replaced(FinetuneConfig(), **PLAIN).data.build()
    assert plain == Augmentation(None, False, 0.875) and type(plain) is Augmentation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 64}, "a batch of 64 needs as many images, and there are 48 .* such as --set batch_size=8"),
        ({"warmup_epochs": 3.0}, "warm-up must be shorter than the run: got warmup_epochs=3 of epochs=3"),
        ({"warmup_epochs": 40.0}, "warm-up must be shorter than the run: got warmup_epochs=40 of epochs=3"),
        ({"num_classes": 4}, r"labels of 4 classes are numbers from 0 to 3; 16 of 48 are not, such as [45] of npz:"),
        ({"labels_per_class": 9}, r"9 labels a class cannot be chosen: classes with fewer are 0 \(8\), 1 \(8\), "),
        (
            {"accumulation_steps": 3},
            "batch_size=16 must be divisible by accumulation_steps=3; type --set accumulation_steps=2",
        ),
        ({"num_trainable_layers": 3}, "a multiple of 0.5 up to 2; got 3"),
        ({"layer_decay": 1.5}, r"layer_decay lies in \(0, 1\], got optimizer.layer_decay=1.5"),
        ({"validation_data": "npz:/nowhere.npz"}, "npz:/nowhere.npz: there is no such file"),
    ],
)
def test_bad_settings(given, config, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        finetune(replaced(config, **changes), given["data"], str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_labels_are_needed(given, config, tmp_path):
    images, _ = drawn_images(48, seed=0)
    np.savez(tmp_path / "bare.npz", images=images)
    with pytest.raises(ValueError, match="labels are needed, and these images have none, such as npz:.*bare.npz.0."):
        finetune(config, f"npz:{tmp_path / 'bare.npz'}", str(tmp_path / "run"))
    with pytest.raises(ValueError, match="labels are needed"):
        bare = replaced(config, validation_data=f"npz:{tmp_path / 'bare.npz'}")
        finetune(bare, given["data"], str(tmp_path / "run"))
