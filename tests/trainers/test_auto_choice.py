"""`choose` on facts: each rule by itself, what is given, and what nothing may be: too large for the memory."""

import dataclasses

import pytest

from keras_mae.trainers import recipes, run
from keras_mae.trainers.auto_choice import SIZES, choose
from keras_mae.trainers.auto_facts import Facts, memory_of_run, seconds_of_run
from keras_mae.trainers.auto_recipe import AutoRecipe, lines_of
from keras_mae.trainers.budget import with_epochs
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.config import PretrainConfig, to_json
from keras_mae.trainers.settings import changed, replaced, values_of
from keras_mae.trainers.step_size import step_size
from tests.trainers.pretraining import of

GRAY = {"channels": 1, "mean": (0.13,), "std": (0.31,)}
MACHINE = {"memory": 16 * 10**9, "taken": 10**9, "processors": 2, "products": 1e11, "numbers": 1e9}
SETS = {
    "80 digits": Facts(80, 28, 28, same_size=True, flat=0.6, **GRAY, **MACHINE),
    "4,000 digits": Facts(4000, 28, 28, same_size=True, flat=0.6, **GRAY, **MACHINE),
    "300 16-bit TIFFs": Facts(300, 2000, 2000, same_size=True, bits=16, reading=0.1, **GRAY, **MACHINE),
    "60 photographs": Facts(60, 333, 500, reading=0.01, **MACHINE),
    "13 channels": Facts(500, 64, 64, True, 13, 16, mean=(0.3,) * 13, std=(0.2,) * 13, **MACHINE),
    "ImageNet, H100": Facts(
        1_281_167, 333, 400, reading=5e-3, memory=78 * 10**9, accelerator=True, dtype_policy="mixed_bfloat16",
        processors=16, products=5e14, numbers=5e11,
    ),
}  # fmt: skip
NAMES = "channels image_size patch_size encoder.hidden_dim encoder.num_layers batch_size"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("80 digits", (1, (28, 28), (4, 4), 128, 3, 16)),
        ("4,000 digits", (1, (28, 28), (4, 4), 128, 3, 32)),
        ("300 16-bit TIFFs", (1, (224, 224), (16, 16), 128, 3, 16)),
        ("60 photographs", (3, (224, 224), (16, 16), 128, 3, 16)),
        ("13 channels", (13, (64, 64), (8, 8), 128, 3, 16)),
        ("ImageNet, H100", (3, (224, 224), (16, 16), 768, 12, 4096)),
    ],
)
def test_sets_of_images(name, expected):
    facts = SETS[name]
    config, reasons = choose(facts)
    check_together(config)
    assert of(config, NAMES) == expected
    assert config.optimizer.schedule(facts.num_images // config.optimizer.batch_size)
    limit = 3600 * (24 if facts.accelerator else 4)
    assert seconds_of_run(config, facts) <= 1.01 * limit
    assert memory_of_run(config, facts) - facts.taken <= 0.8 * facts.memory
    assert all(reason.setting and reason.why for reason in reasons)


def test_every_choice_is_named_once_and_all_else_is_the_default():
    config, reasons = choose(SETS["300 16-bit TIFFs"])
    default = replaced(PretrainConfig(), decoder=None)
    short = {setting.partition("=")[0] for reason in reasons for setting in reason.setting.split()}
    assert len(short) == sum(len(reason.setting.split()) for reason in reasons)
    values, before = values_of(config), values_of(default)
    changed = {name for name in values if values[name] != before.get(name)}
    assert {name.rpartition(".")[2] for name in changed} <= {name.rpartition(".")[2] for name in short}
    assert "hours=4.0" in dict(reasons) and of(config, "hours") == (4.0,)


def test_what_is_given_stays_and_the_rest_follows():
    facts = SETS["4,000 digits"]
    config, reasons = choose(facts, {"patch_size": (7, 7), "epochs": 30, "encoder.hidden_dim": 64, "mean": (0.5,)})
    check_together(config)
    assert of(config, "patch_size image_size epochs warmup_epochs encoder.hidden_dim encoder.num_heads mean std") == (
        *((7, 7), (28, 28), 30, 1.5, 64, 1, (0.5,), None),
    )
    assert dict(reasons)["patch_size=(7,7)"] == dict(reasons)["epochs=30"] == "set by you"
    # 6,000 steps of 30 x 4,000 images would have 20 in a batch
    assert of(config, "batch_size") == (16,)
    peak = of(choose(facts, {"batch_size": 128})[0], "base_learning_rate")[0] * 128 / 256
    assert peak == pytest.approx(1e-3)
    config = choose(facts, {"image_size": (30, 27)})[0]
    assert of(config, "image_size patch_size") == ((30, 27), (3, 3))
    config = choose(facts, {"image_size": (31, 29)})[0]
    with pytest.raises(ValueError, match="image_size must be divisible by patch_size"):
        check_together(config)  # not another size without a word
    config = choose(SETS["60 photographs"], {"method": "simmim", "preset": "vit_small_patch16"})[0]
    assert config.decoder is None and of(config, "hidden_dim num_layers") == (384, 12)


def test_hours_that_are_given_limit_the_size():
    photographs = dataclasses.replace(SETS["60 photographs"], num_images=20_000)
    long, short = (choose(photographs, {"hours": hours})[0] for hours in (2000.0, 6.0))
    assert of(long, "encoder.hidden_dim hours") == (384, 2000.0)
    assert of(short, "encoder.hidden_dim hours") == (128, 6.0)
    why = dict(choose(photographs, {"hours": 6.0})[1])
    assert "384 x 12 would take too long here" in next(why[key] for key in why if key.startswith("preset"))
    assert of(choose(SETS["80 digits"], {"hours": 9e4})[0], "epochs") == (1_000_000,)
    for config in (long, short):
        assert seconds_of_run(config, photographs) <= 3600 * config.run.hours


def test_little_memory_makes_parts_then_recomputes():
    facts = dataclasses.replace(SETS["ImageNet, H100"], memory=24 * 10**9)
    parts = choose(facts)[0]
    assert parts.optimizer.accumulation_steps > choose(SETS["ImageNet, H100"])[0].optimizer.accumulation_steps
    assert memory_of_run(parts, facts) <= 0.8 * facts.memory
    one_part = choose(facts, {"accumulation_steps": 1, "batch_size": 512})[0]
    assert one_part.run.rematerialize and one_part.optimizer.accumulation_steps == 1


@pytest.mark.parametrize(
    ("facts", "names", "expected"),
    [
        (Facts(5000, 32, 48, same_size=True), "image_size patch_size", ((32, 48), (4, 4))),
        (Facts(5000, 32, 48), "image_size crop_ratio", ((32, 32), 1.0)),
        (Facts(5000, 30, 30, same_size=True), "image_size", ((28, 28),)),
        (Facts(5000, 3, 3, same_size=True), "image_size patch_size", ((3, 3), (3, 3))),
        (Facts(5000, 112, 900), "image_size patch_size crop_ratio", ((112, 112), (8, 8), 1.0)),
        (Facts(5000, 600, 900), "image_size patch_size crop_ratio", ((224, 224), (16, 16), 0.875)),
        (Facts(5, 600, 900), "batch_size", (5,)),
        (Facts(100, 600, 900, replicas=3), "batch_size jit_compile", (15, None)),
        (Facts(100, 32, 32, flat=0.1), "normalize_target flip mean crop_scale", (True, False, None, (0.2, 1.0))),
        (Facts(100, 32, 32, flat=0.3), "normalize_target crop_scale", (False, None)),
        (Facts(100, 300, 300, flat=0.3), "normalize_target crop_scale", (False, (0.2, 1.0))),
    ],
)
def test_rules(facts, names, expected):
    assert of(choose(facts)[0], names) == expected


def test_operations_are_those_that_were_counted_for_the_paper():
    """58 GFLOP for an image of ViT-B in training (reference of the speeds), and sizes rise."""
    assert step_size(PretrainConfig()).operations == pytest.approx(58e9, rel=0.02)
    assert [size.patches for size in SIZES] == sorted(size.patches for size in SIZES)


@pytest.mark.parametrize(
    ("settings", "gigaflops"),
    [
        # 12 blocks with queries for 147 masked patches, 512 wide: 20 x 147 x 512^2 for their linear layers, for keys
        # and values of 50 tokens 4 x 50 x 768 x 512, for attention 4 x 147 x 50 x 512; the head; three times that, and
        # the encoder: 3 x 12 x (24 x 50 x 768^2 + 4 x 50^2 x 768), and 3 x 2 x 49 x 768^2 of its patches
        (["decoder=cross"], 25.93 + 3 * 12 * (0.7707 + 0.0786 + 0.0151) + 3 * 0.1156),
        (["decoder=cross", "predict_ratio=0.25"], 25.93 + 3 * 12 * (0.1940 + 0.0786 + 0.0038) + 3 * 0.0291),
        (["decoder.num_layers=32"], 25.93 + 3 * 32 * (1.2394 + 0.0795) + 3 * (0.0393 + 0.1156)),
        # the class token, 49 visible patches and 37 of 147
        (["predict_ratio=0.25"], 25.93 + 3 * 8 * (0.5473 + 0.0155) + 3 * (0.0393 + 0.0291)),
    ],
    ids=str,
)
def test_operations_of_other_decoders(settings, gigaflops):
    found = step_size(changed(recipes.load("mae_vit_base"), settings)).operations
    assert found == pytest.approx(1e9 * gigaflops, rel=2e-3)  # numbers of three or four digits


def test_settings_are_checked_before_images_are_seen():
    AutoRecipe.of_settings(["epochs=3", "patch_size=(4,4)", "mean=(0.1,0.2,0.3,0.4)", "std=(0.1,0.2,0.3,0.4)"]).check()
    AutoRecipe.of_settings(["method=simmim", "masking=units", "unit=32"]).check()
    for given in (
        ["warmup_epochs=250"],
        ["milestones=(300,400)"],
        ["hours=0.1", "warmup_epochs=2", "frozen_epochs=10"],
    ):
        AutoRecipe.of_settings(given).check()  # how many epochs there are depends on the images
    with pytest.raises(ValueError, match="warm-up must be shorter than the run: got warmup_epochs=9 of epochs=3"):
        AutoRecipe.of_settings(["epochs=3", "warmup_epochs=9"]).check()
    with pytest.raises(ValueError, match="type --set 'image_size="):
        AutoRecipe.of_settings(["image_size=(30,30)", "patch_size=(4,4)"]).check()
    with pytest.raises(ValueError, match="there is no setting 'epoch'"):
        AutoRecipe.of_settings(["epoch=3"])
    with pytest.raises(ValueError, match="has no decoder; leave it out|has none; leave it out"):
        AutoRecipe.of_settings(["method=simmim", "decoder.num_layers=3"])


def test_lines_for_people():
    lines = lines_of(choose(SETS["80 digits"]), SETS["80 digits"])
    assert lines[0] == "--recipe=auto: 80 images of 28 x 28 pixels, 1 channel of 8 bits; processor, 16.0 GB free"
    assert any(line.split() == "image_size=(28,28) of the images".split() for line in lines)
    assert lines[-1].startswith("  about 1.7 GB of memory in all and ")


def test_what_is_typed_again_is_what_a_run_of_so_many_hours_has_scaled(tmp_path):
    typed = ["hours=2", "epochs=100", "warmup_epochs=5"]
    config = with_epochs(AutoRecipe.of_settings(typed).base, 37)
    folder = run.RunFolder(str(tmp_path))
    folder.write_json(run.CONFIG, {"data": "digits", "config": to_json(config)})
    for given in (["hours=2"], ["hours=2", "epochs=100"], ["hours=2", "warmup_epochs=5"], typed):
        assert AutoRecipe.of_settings(given).resumed(folder) == config
    other = AutoRecipe.of_settings(["mask_ratio=0.5"]).resumed(folder)  # which the folder refuses
    assert of(other, "mask_ratio epochs") == (0.5, 37)
