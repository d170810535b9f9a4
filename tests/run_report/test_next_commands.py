"""The command lines of a page: they name the run, a shell takes them, and the one to continue with is the run's own."""

import json
import os
import shlex

import numpy as np
import pytest

from keras_mae import cli
from keras_mae.commands.command import config_of
from keras_mae.run_report.next_commands import commands_of
from keras_mae.run_report.record import RunRecord
from keras_mae.trainers import recipes
from keras_mae.trainers.config import to_json
from keras_mae.trainers.settings import changed, replaced
from tests.run_report.folders import write, write_run


def words_of(path):
    """The words of each line, by title, as a shell splits them; the flags of each command are parsed."""
    found = {}
    for title, line in commands_of(RunRecord(path)):
        words = shlex.split(line)
        found[title] = words
        words = words[words.index("keras-mae") + 1 :]
        if words[0] in cli.COMMANDS:
            cli.COMMANDS[words[0]].make_flags()(words)
    return found


def config_typed(words):
    """The config of a line, as its command makes it."""
    values = cli.COMMANDS[words[1]].make_flags()
    values(words[1:])
    return config_of(values, words[1]), values


@pytest.mark.parametrize(
    ("recipe", "settings", "given"),
    [
        ("mae_digits", (), {}),
        ("mae_vit_base", ("masking=units", "unit=2", "mean=(0.5,0.4,0.3)", "crop_scale=(0.5,1.0)", "clip_norm=1"), {}),
        ("simmim_digits", ("epochs=7",), {}),
        ("finetune_digits", ("labels=a b.csv", "label_columns=x", "epochs=3"), {"run": "runs/it's here"}),
        ("probe_digits", ("layer=2",), {"init": "mae_vit_base", "init_format": "timm"}),
        ("segment_vit_base", ("evaluation=slide",), {}),
    ],
)  # fmt: skip
def test_the_line_that_continues_has_every_setting(tmp_path, recipe, settings, given):
    config = replaced(changed(recipes.load(recipe), settings), **given)
    path = write_run(tmp_path / "my run", recipe=recipe, finished=False, data="folder:/with space/$x")
    record = RunRecord(path).record | {"config": json.loads(json.dumps(to_json(config)))}
    write(path, "config.json", json.dumps(record))
    words = words_of(path)["Continue the run"]
    if words[0] == "cd":
        assert words[:3] == ["cd", "/home", "&&"]
        words = words[3:]
    typed, values = config_typed(words)
    assert typed == config
    assert (values.data, values.output, values.resume) == ("folder:/with space/$x", path, True)


def test_paths_that_are_relative_are_those_of_the_folder_that_the_run_began_in(tmp_path):
    for data, begins in (
        ("folder:images", True), ("pairs:/a,b", True), ("folder:/images", False), ("digits", False),
        ("tfds:mnist", False), ("memory:npz:x.npz", True), ("tfrecord:gs://b/x", False),
    ):  # fmt: skip
        path = write_run(tmp_path / "run", finished=False, data=data)
        assert (words_of(path)["Continue the run"][0] == "cd") == begins, data
    for labels, begins in (("labels.csv", True), ("/labels.csv", False)):
        path = write_run(
            tmp_path / "run", recipe="finetune_digits", finished=False, data="folder:/i", settings=[f"labels={labels}"]
        )
        assert (words_of(path)["Continue the run"][0] == "cd") == begins


@pytest.mark.parametrize(
    ("recipe", "settings", "images", "kinds"),
    [
        ("mae_vit_base", (), 1_300_000, ("vit_base", "vit_base")),
        ("mae_vit_large", (), 1_300_000, ("vit_large", "vit_large")),
        ("mae_vit_huge", (), 1_300_000, ("vit_huge", "vit_huge")),
        ("mae_vit_base", (), 50_000, ("small_images", "vit_base")),  # batches of 16,384 and of 1,024
        ("mae_vit_base", (), 2_000, ("small_images", "small_images")),
        ("mae_vit_base", ("encoder.hidden_dim=384", "encoder.num_heads=6"), 1_300_000, ("small_images",) * 2),
        ("mae_vit_base", ("patch_size=(8,8)",), 1_300_000, ("small_images", "small_images")),
        ("mae_images_96", (), 300, ("small_images", "small_images")),
    ],
)  # fmt: skip
def test_recipes_for_heads_fit_the_encoder_and_the_number_of_images(tmp_path, recipe, settings, images, kinds):
    seen = {"num_images": images, "class_names": ["a", "b"]}
    words = words_of(write_run(tmp_path / "run", recipe=recipe, settings=settings, seen=seen, data="folder:/x"))
    assert f"--recipe=probe_{kinds[0]}" in words["Measure them by a linear layer"]
    assert f"--recipe=finetune_{kinds[1]}" in words["Train a classifier"]


def test_what_is_offered_follows_the_program_and_the_state(tmp_path):
    finished = words_of(write_run(tmp_path / "a", seen={"num_images": 40, "class_names": []}))
    names = [words[1] for words in finished.values()]
    assert names == ["knn", "linear-probe", "finetune", "embed", "reconstruct", "export"]
    assert all(f"--run={tmp_path}/a" in words for words in finished.values())
    assert "--data=folder:LABELLED_IMAGES" in finished["Train a classifier"]
    assert "--recipe=finetune_digits" in finished["Train a classifier"]
    assert list(words_of(write_run(tmp_path / "b", finished=False))) == ["Continue the run"]
    skipped = words_of(write_run(tmp_path / "c", steps=[{"step": 5, "skipped": "spike"}], finished=False))
    assert ["keras-mae", "replay", f"--run={tmp_path}/c", "--step=5"] in skipped.values()
    tuned = words_of(write_run(tmp_path / "d", recipe="finetune_digits", results={"top1": 1}))
    assert [words[1] for words in tuned.values()] == ["predict", "export"] and "--model=classifier" in tuned[
        "Export it for TensorFlow Serving"
    ]
    numbers = write_run(tmp_path / "e", recipe="finetune_digits", results={"rmse": {}}, seen={"task": "numbers"})
    assert "--model=regressor" in words_of(numbers)["Export it for TensorFlow Serving"]
    small = write_run(tmp_path / "f", recipe="mae_small_images", data="folder:/x")
    assert "--recipe=probe_small_images" in words_of(small)["Measure them by a linear layer"]


def test_a_config_of_another_version_has_no_line_to_continue_with(tmp_path):
    path = write_run(tmp_path / "run", finished=False)
    RunRecord(path)
    text = (tmp_path / "run" / "config.json").read_text().replace('"mask_ratio"', '"of_the_future"')
    (tmp_path / "run" / "config.json").write_text(text)
    assert words_of(path) == {}


@pytest.mark.medium
def test_the_line_continues_a_real_run(tmp_path, monkeypatch):
    """A run without its model is one that was cut off before its end: the line ends it."""
    from tests.drawn import TINY, drawn

    np.savez(tmp_path / "images.npz", images=np.stack([drawn(20, 24, seed=number) for number in range(8)]))
    monkeypatch.chdir(tmp_path)
    settings = [f"--set={one}" for one in (*TINY, "epochs=1", "warmup_epochs=0", "jit_compile=False")]
    words = ["pretrain", "--data=npz:images.npz", "--output=run", "--recipe=mae_small_images", *settings]
    assert cli.main(words) == 0
    os.remove(tmp_path / "run" / "model.keras")
    line = words_of("run")["Continue the run"]
    assert line[:3] == ["cd", str(tmp_path), "&&"]
    monkeypatch.chdir(line[1])
    assert cli.main(line[4:]) == 0 and os.path.exists(tmp_path / "run" / "model.keras")
    assert "Continue the run" not in words_of("run")
