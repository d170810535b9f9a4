"""`keras-mae finetune`, `linear-probe`, `knn` and `recipes --show` as a user types them."""

import json
import re

import pytest

from keras_mae import cli
from keras_mae.trainers import recipes
from keras_mae.trainers.config import from_json
from keras_mae.trainers.settings import changed
from tests.trainers.labelled import write_everything
from tests.typed import refused

QUICK = [
    "--set=epochs=2", "--set=warmup_epochs=1", "--set=batch_size=16", "--set=jit_compile=False",
    "--set=crop_scale=None",
]  # fmt: skip


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return write_everything(tmp_path_factory.mktemp("given"))


def flags(given, output):
    return [*(f"--{name}={value}" for name, value in given.items()), f"--output={output}"]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("command", "recipe"),
    [pytest.param("finetune", "finetune_small_images", marks=pytest.mark.slow), ("linear-probe", "probe_digits")],
)
def test_a_trained_head(given, tmp_path, capsys, command, recipe):
    """`test_heads.py` fine-tunes for other labels."""
    output = tmp_path / command
    assert cli.main([command, f"--recipe={recipe}", *flags(given, output), *QUICK]) == 0
    shown, wrote = capsys.readouterr().out.splitlines()
    results = json.loads((output / "results.json").read_text())
    assert shown.startswith(f"top-1 {100 * results['top1']:.1f} %, top-5 {100 * results['top5']:.1f} %; best epoch ")
    assert shown.endswith("; the largest class: 16.7 %, the five largest: 83.3 % of 24 images")
    assert wrote == f"wrote {output}"
    record = json.loads((output / "config.json").read_text())
    assert (record["data"], record["config"]["program"]) == (given["data"], command)
    assert record["seen"]["num_images"] > 0
    config = from_json(record["config"])
    assert (config.encoder.run, config.data.validation_data) == (given["run"], given["validation_data"])
    assert config.optimizer.epochs == 2


@pytest.mark.medium
def test_neighbours_vote(given, tmp_path, capsys):
    assert cli.main(["knn", *flags(given, tmp_path / "knn"), "--set=k=(1,5)", "--set=pooling=cls"]) == 0
    first, second, wrote = capsys.readouterr().out.splitlines()
    assert first.startswith("k =   1: top-1 ") and second.startswith("k =   5: top-1 ") and wrote.startswith("wrote ")
    assert first.endswith("; the largest class: 16.7 %, the five largest: 83.3 % of 24 images")


def test_recipes_shows_one(capsys):
    assert cli.main(["recipes", "--show=finetune_vit_large"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(recipes.evidence("finetune_vit_large")) and "for keras-mae finetune; every setting" in text
    assert re.search(r"\n  layer_decay=0.75 +factor of the learning rate from a layer to the one below; None for", text)
    assert re.search(r"\n  rand_augment=\(9.0,0.5\) +magnitude in \[0, 10\] and its standard deviation", text)
    assert text.endswith("the peak learning rate, base_learning_rate x batch_size / 256, is 0.004\n")


def test_recipes_shows_what_applies_and_no_more(capsys):
    assert cli.main(["recipes", "--show=simmim_vit_base"]) == 0
    text = capsys.readouterr().out
    assert "\nmethod=simmim: SimMIM: " in text and "\nmasking=units: Squares" in text
    assert "(there are: random, units, blocks, grid)" in text and "\n  unit=32 " in text
    assert "decoder=" not in text and "pca_components" not in text and "mask_tokens_in_encoder" not in text
    for line in text.partition("for --set:")[2].splitlines():  # every setting can be typed as it is shown
        if re.match(r"  \S+=", line):
            changed(recipes.load("simmim_vit_base"), [line.split()[0]])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["finetune", "--recipe=finetune_vit_bse"],
            "no recipe is called 'finetune_vit_bse'; did you mean finetune_vit_b",
        ),
        (["finetune", "--recipe=mae_vit_base"], "mae_vit_base is a recipe for keras-mae pretrain, not for finetune"),
        (["linear-probe", "--recipe=finetune_digits"], "is a recipe for keras-mae finetune, not for linear-probe"),
        (["finetune", "--set=layer_decy=0.5"], "there is no setting 'layer_decy'; did you mean layer_decay"),
        (["linear-probe", "--set=mixup=0.8"], "there is no setting 'mixup'"),
        (["knn", "--set=k=5"], "k is of type tuple[int, ...], got 5"),
        (["knn", "--set=temperatures=1.0"], "there is no setting 'temperatures'; did you mean temperature"),
        (["recipes", "--show=mae_digit"], "no recipe is called 'mae_digit'; did you mean mae_digits"),
        (
            ["pretrain", "--recipe=probe_digits"],
            "probe_digits is a recipe for keras-mae linear-probe, not for pretrain",
        ),
    ],
)
def test_unknown_names_are_answered_with_near_ones(capfd, tmp_path, command, message):
    needed = [] if command[0] == "recipes" else ["--run=x.keras", "--data=digits", f"--output={tmp_path / 'run'}"]
    if command[0] == "pretrain":
        needed = needed[1:]
    assert message in refused(capfd, *command, *needed)
    assert not (tmp_path / "run").exists()


def test_another_architecture_and_no_such_run(given, capfd, tmp_path):
    small = ["--set=batch_size=16"]  # all else of the default recipe, which is for ViT-B
    line = refused(capfd, "finetune", *flags(given, tmp_path / "run"), *small)
    assert "hidden_dim: 16 there, 768 asked for; num_layers: 2 there, 12 asked for" in line
    line = refused(capfd, "linear-probe", *flags({**given, "run": str(tmp_path / "nowhere")}, tmp_path / "run"), *small)
    assert "nowhere is not the folder of a run: it holds no config.json" in line
    assert not (tmp_path / "run").exists()
