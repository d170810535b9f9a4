"""What is known of a `.keras` file that lies in the folder of a run."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, Decoding, FolderSource, Subset
from keras_mae.trainers import run
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.settings import replaced
from keras_mae.trainers.trained_model import (
    TrainedModel,
    find_model,
    is_ours,
    read_as_trained,
    say_if_outside,
    say_other_depth,
)
from tests.drawn import as_image, drawn, encoded, write

SEEN = {"num_images": 5, "digest": "0f", "dtype": "uint16", "class_names": ["normal", "pneumonia"]}


def write_run(
    path, config, seen=None, files=("model.keras", "encoder.keras", "best.keras"), data="folder:/data/x-rays"
):
    """A run's folder without weights: what it saw, and empty files."""
    folder = run.RunFolder(str(path))
    folder.start(config, data, resume=False, overwrite=False)
    if seen is not None:
        with open(folder / run.CONFIG) as file:
            record = json.load(file)
        folder.write_json(run.CONFIG, {**record, "seen": seen})
    for name in files:
        (path / name).write_bytes(b"")
    return path


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run", replaced(FinetuneConfig(), crop_ratio=0.625, pooling="cls"), SEEN)


@pytest.mark.parametrize("name", ["", "model.keras", "encoder.keras", "best.keras", "kept.keras"])
def test_a_folder_and_every_file_in_it(folder, name):
    (folder / "kept.keras").write_bytes(b"")  # a copy of the user's
    found = find_model(str(folder / name), run.MODEL)
    assert found.path == str(folder / (name or "model.keras")) and found.folder == str(folder)
    assert (found.crop_ratio, found.seen) == (0.625, SEEN)
    assert (found.data, found.config.head.pooling) == ("folder:/data/x-rays", "cls")


def test_the_rules_of_decoding_are_the_runs(tmp_path):
    config = replaced(PretrainConfig(), background=0, max_megapixels=3.5)
    assert find_model(str(write_run(tmp_path / "run", config))).decoding == Decoding(3_500_000, 0)
    assert TrainedModel("encoder.keras").decoding == Decoding()


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "mae.pth").write_bytes(b"")
    message = (
        r"mae.pth is neither the folder of a run nor a .keras file; .* keras-mae convert --checkpoint=.*mae.pth --ou"
    )
    with pytest.raises(ValueError, match=message):
        find_model(str(tmp_path / "mae.pth"))


def test_a_path_from_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = find_model("best.keras")
    assert (found.path, found.crop_ratio) == ("best.keras", 0.625)


def test_links(folder, tmp_path):
    """A link to a run's file is of that run; so is a link in a run's folder to a file that lies elsewhere."""
    os.symlink(folder / "best.keras", tmp_path / "current.keras")
    assert find_model(str(tmp_path / "current.keras")).crop_ratio == 0.625
    (tmp_path / "store").mkdir()
    os.rename(folder / "model.keras", tmp_path / "store" / "blob.keras")
    os.symlink(tmp_path / "store" / "blob.keras", folder / "model.keras")
    assert find_model(str(folder / "model.keras")).crop_ratio == 0.625
    assert find_model(str(tmp_path / "store" / "blob.keras")).folder is None


@pytest.mark.parametrize("config", [None, "{", "[]", '{"architectures": ["ViTForImageClassification"]}'])
def test_a_file_outside_of_a_run_says_what_is_taken(tmp_path, caplog, config):
    """Also beside a config.json that is none of ours, as Hugging Face writes one."""
    caplog.set_level("INFO", logger="keras_mae")
    (tmp_path / "model.keras").write_bytes(b"")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    found = find_model(str(tmp_path / "model.keras"))
    assert found == TrainedModel(str(tmp_path / "model.keras"))
    assert (found.crop_ratio, found.seen) == (0.875, {})
    say_if_outside(found, "the crop ratio is 0.875")
    (record,) = caplog.records
    begin = f"{tmp_path}/model.keras lies in no run's folder, so it does not say how it was trained: "
    assert record.message == begin + "the crop ratio is 0.875"
    if config is not None:
        with pytest.raises(
            ValueError, match="config.json is not the config of a run: |settings that this version does"
        ):
            find_model(str(tmp_path))


def test_a_run_says_nothing_of_defaults(folder, caplog):
    caplog.set_level("INFO", logger="keras_mae")
    say_if_outside(find_model(str(folder)), "the crop ratio is 0.875")
    assert not caplog.records


def test_runs_that_do_not_say(tmp_path):
    """Of earlier versions, without labels, without a crop ratio of their own."""
    found = find_model(str(write_run(tmp_path / "old", replaced(PretrainConfig(), crop_ratio=1.0))))
    assert (found.crop_ratio, found.seen) == (1.0, {})
    assert find_model(str(write_run(tmp_path / "knn", KnnConfig()))).crop_ratio == 0.875


def test_folders_that_are_runs(folder, tmp_path):
    """A preset of KerasHub has a config.json with a "config" too."""
    record = {"module": "keras_hub.src.models.vit.vit_backbone", "class_name": "ViTBackbone", "config": {}}
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "config.json").write_text(json.dumps(record))
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "config.json").write_text(json.dumps({"program": "pretrain"}))
    assert is_ours(str(folder)) and is_ours(str(tmp_path / "early")) and not is_ours(str(tmp_path / "preset"))


def test_a_run_that_saves_no_model(tmp_path):
    path = write_run(tmp_path / "knn", replaced(KnnConfig(), init="mae_vit_base"), files=())
    with pytest.raises(ValueError, match="keras-mae knn, which saves no model: name what it has measured, mae_vit_ba"):
        find_model(str(path))


def test_what_is_not_there(folder, tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*run/worst\.keras"):
        find_model(str(folder / "worst.keras"))
    with pytest.raises(ValueError, match="is not the folder of a run"):
        find_model(str(tmp_path / "nowhere"))
    os.remove(folder / "encoder.keras")
    with pytest.raises(ValueError, match=r"holds no encoder\.keras: the run has not finished"):
        find_model(str(folder))


def test_a_run_of_an_earlier_version(tmp_path, caplog):
    """It is named as such, and its files load; what its config said of them is not known."""
    (tmp_path / "config.json").write_text(json.dumps({"program": "pretrain", "epochs": 3, "data": "digits"}))
    with pytest.raises(ValueError, match="an earlier version of this package has written .*: name one of its .keras"):
        find_model(str(tmp_path))
    (tmp_path / "encoder.keras").write_bytes(b"")
    assert find_model(str(tmp_path / "encoder.keras")).folder is None
    assert "its crop ratio, bit depth and class names are not known here" in caplog.text


def picture_folder(path, dtype):
    """A source of one PNG file of this depth."""
    write(str(path / "0.png"), encoded(as_image(drawn(6, 6, 1).astype(dtype)), "PNG"))
    return FolderSource(str(path))


@pytest.mark.parametrize(("of_run", "bits"), [("uint8", 8), ("uint16", 16)])
def test_files_are_read_in_the_depth_of_the_run(tmp_path, caplog, of_run, bits):
    trained = TrainedModel("run/encoder.keras", "run", seen={"dtype": of_run})
    other = {"uint8": "uint16", "uint16": "uint8"}[of_run]
    same, source = picture_folder(tmp_path / "same", of_run), picture_folder(tmp_path / "other", other)
    part = Subset(source, np.array([0]))
    read_as_trained(trained.seen["dtype"], trained.path, same, part)
    assert [each.dtype for each in (same, part, source)] == [of_run] * 3
    assert source.image(tf.constant(0, tf.int64), 1).dtype == of_run
    assert caplog.messages == [
        f"these images have {24 - bits} bits a channel, and those that run/encoder.keras was trained on have {bits}: "
        f"files are read in {bits} bits, as an exported model reads them"
    ]
    caplog.clear()
    array = ArraySource(np.zeros((2, 6, 6, 1), other))
    read_as_trained(trained.seen["dtype"], trained.path, array)
    assert array.dtype == other and caplog.messages[0].endswith(
        f"levels are scaled, so that {2 ** (24 - bits) - 1} counts as {2**bits - 1} does there"
    )
    caplog.clear()
    say_other_depth(trained, array)
    assert caplog.messages == [
        f"these images have {24 - bits} bits a channel, and those that run/encoder.keras was trained on have {bits}: "
        f"this run and what is exported from it read {24 - bits} bits"
    ]


def test_nothing_is_said_of_the_same_depth_or_an_unknown_one(tmp_path, caplog):
    source = picture_folder(tmp_path, "uint16")
    for seen in ({}, {"dtype": "uint16"}):
        read_as_trained(seen.get("dtype"), "x.keras", source)
        say_other_depth(TrainedModel("x.keras", seen=seen), source)
    assert source.dtype == "uint16" and not caplog.messages


def test_a_run_knows_its_images_from_another_directory(tmp_path, monkeypatch):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    write_run(tmp_path / "run", FinetuneConfig(), data="folder:sub")
    monkeypatch.chdir(tmp_path / "other")
    trained = find_model(str(tmp_path / "run"))
    images = tmp_path / "one" / "sub"
    for data in (f"folder:{images}", f"memory:folder:{images}", f"disk:cache:folder:{images}", "folder:../one/sub"):
        assert trained.has_seen(data)
    assert not trained.has_seen("folder:sub") and not trained.has_seen(f"npz:{images}")
