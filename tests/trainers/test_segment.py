"""Training a segmenter: what a run leaves behind, exact resume, predictions, and bad input."""

import json
import logging
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

import keras_mae.models  # noqa: F401  registers the classes
from keras_mae import cli
from keras_mae.data.preprocessing import resize_at_once
from keras_mae.trainers import predict_masks as predicting
from keras_mae.trainers import run
from keras_mae.trainers.mask_data import masked_sources
from keras_mae.trainers.segment import segment
from keras_mae.trainers.segment_config import SegmentConfig
from keras_mae.trainers.settings import replaced
from tests.base import run_forked, small_encoder, weights_of
from tests.data.scenes import scene, write_pair
from tests.trainers.pretraining import Interrupted, after_step, interrupt, log_of

SHAPE, CLASSES = (16, 16, 3), ["red", "green", "blue", "yellow"]


def scenes(count, seed, size=(20, 24)):
    images, masks = zip(*[scene(*size, seed + number, tile=10) for number in range(count)])
    masks = np.stack(masks)
    masks[:, 0, :3] = 255
    return np.stack(images), masks


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segment")
    small_encoder(SHAPE, num_layers=2, hidden_dim=16).save(folder / "encoder.keras")
    images, masks = scenes(16, 0)
    tests, test_masks = scenes(5, 100)
    np.savez(folder / "a.npz", images=images, masks=masks, validation_images=tests, validation_masks=test_masks)
    (folder / "names.txt").write_text("\n".join(CLASSES) + "\n\n")
    config = replaced(
        SegmentConfig(), run=str(folder / "encoder.keras"), class_names=str(folder / "names.txt"), epochs=3,
        warmup_epochs=0.5, batch_size=8, base_learning_rate=0.3, layer_decay=1.0, jit_compile=False,
    )  # fmt: skip
    return {"config": config, "data": f"npz:{folder / 'a.npz'}", "images": tests, "masks": test_masks}


@pytest.fixture(scope="module")
def finished(given, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("runs") / "run")
    return output, segment(given["config"], given["data"], output)


def classes_by(path, images):
    """The classes of whole images, resized to the model and back."""
    model = keras.saving.load_model(path, compile=False)
    logits = model(np.stack([resize_at_once(image, SHAPE[:2]) for image in images]))
    return tf.argmax(tf.image.resize(logits, images.shape[1:3]), axis=-1).numpy()


@pytest.mark.medium
def test_a_run(given, finished):
    output, results = finished
    folder = run.RunFolder(output)
    assert folder.config() == (replaced(given["config"], dtype_policy="float32"), given["data"])
    assert set(os.listdir(output)) == {
        "config.json", "log.jsonl", "results.json", "tensorboard", "checkpoints", "model.keras", "best.keras",
        "encoder.keras", "seen.gz", "steps.jsonl", "segmentations",
    }  # fmt: skip
    with open(folder / run.RESULTS, encoding="utf-8") as file:
        assert json.load(file) == results
    assert (results["num_classes"], results["train_images"], results["validation_images"]) == (4, 16, 5)
    lines = log_of(folder)
    assert len(lines) == 3 and all({"val_mean_iou", "val_accuracy", "mean_iou", "val_loss"} <= set(x) for x in lines)
    assert lines[-1]["loss"] < lines[0]["loss"]
    best = max(lines, key=lambda line: (line["val_mean_iou"], -line["val_loss"]))
    assert (results["best"]["epoch"], results["best"]["loss"]) == (best["epoch"], best["val_loss"])
    labelled = given["masks"] != 255
    for name, found in ((run.MODEL, results), (run.BEST, results["best"])):
        predicted = classes_by(folder / name, given["images"])[labelled]
        truth = given["masks"][labelled]
        # a pixel where two classes are equal up to round-off may fall on either side
        assert found["mean_iou"] == pytest.approx(jaccard_score(truth, predicted, average="macro"), abs=0.005)
        assert found["pixel_accuracy"] == pytest.approx(accuracy_score(truth, predicted), abs=0.005)
        assert [row["class"] for row in found["per_class"]] == CLASSES
        assert sum(row["pixels"] for row in found["per_class"]) == labelled.sum() == found["pixels"]
    pictures = sorted(os.listdir(folder / run.SEGMENTATIONS))
    assert pictures == [f"{number:05}.png" for number in range(5)]


@pytest.mark.medium
def test_predictions_are_masks_of_the_images_sizes(given, finished, tmp_path, capsys):
    output = str(tmp_path / "masks")
    results = predicting.predict_masks(finished[0], given["data"], output, "validation")
    assert results["images"] == 5 and results["classes"] == dict(zip("0123", CLASSES, strict=True))
    for key in ("mean_iou", "pixel_accuracy", "per_class"):
        assert results["report"][key] == finished[1][key]
    masks = [Image.open(os.path.join(output, f"{number:06}.png")) for number in range(5)]
    assert {mask.mode for mask in masks} == {"P"}
    expected = classes_by(os.path.join(finished[0], run.MODEL), given["images"])
    assert np.mean(np.stack([np.array(mask) for mask in masks]) != expected) < 0.005
    command = ["predict", f"--run={finished[0]}", f"--data={given['data']}"]
    assert cli.main([*command, f"--output={output}"]) == 2
    assert (
        f"{output} is there already: name another --output, or replace it with --overwrite" in capsys.readouterr().err
    )
    assert cli.main([*command, f"--output={output}.csv"]) == 2
    assert f"predictions are a folder of PNG files; type --output={output}\n" in capsys.readouterr().err
    os.remove(os.path.join(output, "report.json"))
    with pytest.raises(ValueError, match="holds something that is not a segmenter's predictions"):
        predicting.predict_masks(finished[0], given["data"], output, overwrite=True)


def test_names_and_numbers_of_masks(tmp_path):
    from keras_mae.data import open_source

    image, mask = scene(8, 8, 0)
    for name in ("a", "sub/b"):
        write_pair(tmp_path, os.path.basename(name), image, mask, os.path.dirname(name))
    source = open_source(f"folder:{tmp_path / 'images'}")
    assert predicting.mask_names(source) == ["a.png", "sub/b.png"]
    Image.fromarray(image).save(tmp_path / "images/a.jpg")
    assert predicting.mask_names(open_source(f"folder:{tmp_path / 'images'}")) == [
        "a.jpg.png",
        "a.png.png",
        "sub/b.png.png",
    ]
    many = np.array([[0, 300]])
    many_mask = predicting.as_mask(many, 301)
    many_mask.save(tmp_path / "many.png")
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "many.png")), many)


@pytest.mark.slow
def test_interrupted_and_resumed_gives_the_same_weights_and_results(given, finished, tmp_path, monkeypatch):
    output = str(tmp_path / "run")
    with monkeypatch.context() as patch:
        after_step(patch, 3, interrupt)
        with pytest.raises(Interrupted):
            segment(given["config"], given["data"], output)
    results = segment(given["config"], given["data"], output, resume=True)
    assert {**results, "seconds": 0} == {**finished[1], "seconds": 0}
    for name in (run.MODEL, run.BEST):
        one, other = (keras.saving.load_model(os.path.join(path, name)) for path in (output, finished[0]))
        for weight, same in zip(weights_of(one), weights_of(other), strict=True):
            np.testing.assert_array_equal(weight, same)


_ON_TWO = """
import sys
import tensorflow as tf
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_mae.trainers.run import RunFolder
from keras_mae.trainers.segment import segment
from keras_mae.trainers.settings import replaced
config, data = RunFolder(sys.argv[1]).config()
segment(replaced(config, accumulation_steps=2), data, sys.argv[2], strategy="mirrored")
"""


@pytest.mark.slow
def test_two_replicas_in_two_parts_train_as_one(finished, tmp_path):
    output = str(tmp_path / "run")
    process = run_forked("-c", _ON_TWO, finished[0], output)
    assert process.returncode == 0, process.stderr
    for one, other in zip(log_of(run.RunFolder(finished[0])), log_of(run.RunFolder(output)), strict=True):
        for key in ("loss", "accuracy", "mean_iou", "val_loss", "val_mean_iou"):
            assert one[key] == pytest.approx(other[key], abs=2e-3), key  # a few pixels where two classes are near
    with open(os.path.join(output, run.RESULTS), encoding="utf-8") as file:
        assert json.load(file)["mean_iou"] == pytest.approx(finished[1]["mean_iou"], abs=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("evaluation", ["resize", "slide"])
def test_pairs_on_the_command_line(evaluation, given, tmp_path, capsys, caplog):
    """As a user types it: train and val folders, masks numbered from 1, a corrupt mask; then a folder's predictions."""
    for kind, count, seed in (("train", 120, 0), ("val", 4, 500)):
        for number in range(count):
            image, mask = scene(18 + number % 7, 20 + number % 5, seed + number)
            write_pair(tmp_path, f"{number:03}", image, mask + 1, kind)
    (tmp_path / "masks/train/007.png").write_bytes(b"broken")
    output = str(tmp_path / "run")
    command = [
        "segment", f"--run={given['config'].encoder.run}", f"--data=pairs:{tmp_path}/images,{tmp_path}/masks",
        f"--output={output}", "--recipe=segment_small_images", "--set", "reduce_zero_label=True", "--set", "epochs=12",
        "--set", "warmup_epochs=1", "--set", f"evaluation={evaluation}", "--set", "design=mask_transformer",
        "--set", "jit_compile=False",
    ]  # fmt: skip
    assert cli.main(command) == 0
    assert "mean IoU" in capsys.readouterr().out and "1 of 120 images were skipped" in caplog.text
    assert f"{tmp_path}/masks/train/007.png: a mask is a PNG of gray levels or of a palette" in caplog.text
    with open(os.path.join(output, "results.json"), encoding="utf-8") as file:
        results = json.load(file)
    assert results["best"]["mean_iou"] > 0.45  # by chance 0.14; the colour of a patch tells its class
    masks = str(tmp_path / "predicted")
    command = ["predict", f"--run={output}/best.keras", f"--data=folder:{tmp_path}/images/val", f"--output={masks}"]
    assert cli.main(command) == 0
    assert sorted(os.listdir(masks)) == [*(f"{number:03}.png" for number in range(4)), "report.json"]
    truths, predictions = (
        np.concatenate([np.array(Image.open(f"{folder}/{n:03}.png")).ravel() for n in range(4)])
        for folder in (tmp_path / "masks/val", masks)
    )
    assert results["best"]["mean_iou"] == pytest.approx(jaccard_score(truths, predictions, average="macro"), abs=0.002)
    assert cli.main([*command, "--overwrite"]) == 0


@pytest.mark.parametrize(
    "settings, masks, said",
    [
        ({"class_names": "nowhere.txt"}, None, "class_names=nowhere.txt is no text file"),
        ({"num_classes": 3}, None, "names.txt has 4 names, and num_classes is 3: drop one"),
        (
            {"class_names": None},
            lambda m: np.where(m == 255, 255, 0),
            "16 masks to train on show one class, 0 .and 255",
        ),
        ({"class_names": None, "num_classes": 2}, None, r"a.npz\[0\]: a mask of 2 classes holds the number 3"),
        ({"class_names": None}, lambda m: m.astype("uint16") + 400, "numbers up to 655, so there would be 656 classes"),
        ({"ignore_index": None}, None, r"a.npz\[0\]: a mask of 4 classes holds the number 255"),
    ],
)
def test_masks_and_settings_that_do_not_go_together(settings, masks, said, given, tmp_path):
    data = given["data"]
    if masks is not None:
        images, found = scenes(16, 0)
        np.savez(
            tmp_path / "a.npz", images=images, masks=masks(found), validation_images=images, validation_masks=found
        )
        data = f"npz:{tmp_path / 'a.npz'}"
    with pytest.raises(ValueError, match=said):
        masked_sources(replaced(given["config"], **settings), data)


@pytest.mark.medium
def test_classes_of_the_masks(given, caplog):
    with caplog.at_level(logging.INFO, logger="keras_mae"):
        masked_sources(given["config"], given["data"])
    assert caplog.messages == ["0.6 % of the pixels of 16 masks have no label, and do not count"]  # 3 of 480
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="keras_mae"):
        train, validation, names = masked_sources(replaced(given["config"], class_names=None), given["data"])
        assert names == ["0", "1", "2", "3"] and train.masks == validation.masks and train.masks.num_classes == 4
        assert not caplog.messages
        masked_sources(replaced(given["config"], class_names=None, num_classes=6), given["data"])
    assert caplog.messages == ["2 of 6 classes have no pixel in 16 masks: 4, 5"]


def test_images_without_masks(given, tmp_path):
    np.savez(tmp_path / "a.npz", images=given["images"])
    with pytest.raises(
        ValueError, match="masks are needed, and these images have none, such as npz:.*; give two folders"
    ):
        segment(given["config"], f"npz:{tmp_path / 'a.npz'}", str(tmp_path / "run"))
    assert not os.path.exists(tmp_path / "run")


def test_a_wrong_scale_is_refused_before_tensorflow(capsys):
    arguments = ["segment", "--data=npz:a.npz", "--output=x", "--set", "scale=2.0,0.5"]
    assert cli.main(arguments) == 2
    assert "scale is (smallest, largest), got (2.0, 0.5); type --set 'scale=(0.5, 2.0)'" in capsys.readouterr().err
