"""Fine-tuning and probing on several devices and by two workers, in processes of their own."""

import json
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.models import ImageClassifier, ViTEncoder
from keras_mae.trainers import run
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.finetune import finetune
from keras_mae.trainers.linear_probe import linear_probe
from keras_mae.trainers.settings import replaced
from keras_mae.trainers.strategy import make_strategy
from tests.base import fill_randomly, random_images, run_forked, weights_of
from tests.trainers.labelled import write_everything

pytestmark = pytest.mark.slow  # nine processes that train

# No epoch of the first is better than its first one, so that every worker has to stop after the third.
STOPPED = {"stop_after": 2, "base_learning_rate": 0.0, "min_learning_rate": 0.0, "epochs": 9, "warmup_epochs": 1.0}
PLAIN = {"crop_ratio": 1.0, "batch_size": 16, "jit_compile": False, "crop_scale": None, "flip": False}
TUNED = {"epochs": 3, "warmup_epochs": 1.0, "base_learning_rate": 0.1, "drop_path_rate": 0.3}
UNMIXED = {"rand_augment": None, "random_erasing": 0.0, "mixup": 0.0, "cutmix": 0.0}
PROBED = {"epochs": 3, "warmup_epochs": 1.0, "flip": True}  # with flips the images pass the encoder in every epoch


def classify(kind, given, output, strategy):
    """Trains; returns results, the last model's weights, and the log."""
    settings = {"run": given["run"], "validation_data": given["validation_data"], **PLAIN}
    if kind == "probe":
        program, config = linear_probe, replaced(ProbeConfig(), **{**settings, **PROBED})
    else:
        program, config = (
            finetune,
            replaced(FinetuneConfig(), **{**settings, **UNMIXED, **(TUNED if kind == "tuned" else STOPPED)}),
        )
    results = program(config, given["data"], output, strategy=strategy)
    model = keras.saving.load_model(os.path.join(output, run.MODEL), compile=False)
    with open(os.path.join(output, run.LOG)) as file:
        log = [json.loads(line) for line in file]
    return {
        "results": results,
        "weights": np.concatenate([weight.ravel() for weight in weights_of(model)]).tolist(),
        "losses": [[line["loss"], line["val_loss"], line["val_accuracy"]] for line in log],
    }


def refused(kind, given, output):
    """What a run by workers says of a folder that is taken."""
    try:
        classify(kind, given, output, "auto")
    except ValueError as error:
        return str(error)
    return None


def evaluated(strategy):
    """Accuracy and loss of one and the same classifier on 29 images, in batches of several sizes."""
    with make_strategy(strategy).scope():
        encoder = fill_randomly(ViTEncoder((8, 8, 1), patch_size=4, hidden_dim=16, num_layers=1, num_heads=2))
        classifier = fill_randomly(ImageClassifier(encoder, 6))
        classifier.compile(optimizer="sgd", jit_compile=False)
    images, labels = random_images(29, (8, 8, 1)), np.random.default_rng(1).integers(0, 6, 29)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    found = [classifier.evaluate(dataset.batch(size), verbose=0, return_dict=True) for size in (1, 7, 8, 28, 29)]
    return [[logs[name] for name in ("accuracy", "top5_accuracy", "loss")] for logs in found]


def children(folder):
    from tests.forked import Child, two_workers

    given = Child(lambda: write_everything(pathlib.Path(folder))).result()
    found = {}
    for kind in ("tuned", "stopped", "probe"):
        found[kind] = {
            "single": [Child(classify, kind, given, f"{folder}/{kind}_single", "single").result()],
            "mirrored": [Child(classify, kind, given, f"{folder}/{kind}_mirrored", "mirrored", devices=2).result()],
        }
        workers = [
            Child(classify, kind, given, f"{folder}/{kind}_workers", "auto", environment=environment)
            for environment in two_workers()
        ]
        found[kind]["workers"] = [worker.result() for worker in workers]
    again = [
        Child(refused, "tuned", given, f"{folder}/tuned_workers", environment=environment)
        for environment in two_workers()
    ]
    counted = {
        "single": [Child(evaluated, "single").result()],
        "mirrored": [Child(evaluated, "mirrored", devices=3).result()],
    }
    counting = [Child(evaluated, "auto", environment=environment) for environment in two_workers()]
    counted["workers"] = [worker.result() for worker in counting]
    return {**found, "refused": [worker.result() for worker in again], "counted": counted}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    process = run_forked(
        "-m", "tests.forked", "tests.trainers.test_classifier_processes", str(tmp_path_factory.mktemp("classifiers"))
    )
    assert process.returncode == 0, process.stderr[-6000:]
    return json.loads(process.stdout.split("RESULT", 1)[1])


@pytest.mark.parametrize("strategy", ["mirrored", "workers"])
@pytest.mark.parametrize("kind", ["tuned", "stopped", "probe"])
def test_several_devices_train_the_model_of_one(runs, kind, strategy):
    (one,) = runs[kind]["single"]
    for other in runs[kind][strategy]:
        # nine steps of AdamW or LARS: round-off of sums in other parts
        np.testing.assert_allclose(other["weights"], one["weights"], rtol=0, atol=2e-4)
        np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-4)
        for key in ("top1", "top5", "epochs", "train_images", "validation_images", "majority_share"):
            assert other["results"][key] == pytest.approx(one["results"][key], rel=1e-6), key
        assert other["results"]["best"] == pytest.approx(one["results"]["best"], rel=1e-4)  # its loss


@pytest.mark.parametrize("strategy", ["mirrored", "workers"])
def test_every_image_counts_once_however_it_is_shared(runs, strategy):
    """The last batch does not reach all devices, or one more than another."""
    (one,) = runs["counted"]["single"]
    assert np.ptp(one, axis=0).max() < 1e-5  # float32
    for other in runs["counted"][strategy]:
        np.testing.assert_allclose(other, one, rtol=1e-5)


def test_no_worker_waits_for_one_that_has_stopped(runs):
    assert {worker["results"]["epochs"] for worker in runs["stopped"]["workers"]} == {3}


def test_every_worker_ends_when_the_folder_is_taken(runs):
    chief, other = runs["refused"]
    assert "holds another run" in chief
    assert "the first worker" in other
