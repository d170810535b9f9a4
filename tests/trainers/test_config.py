"""`--set key=value`: typed parsing and its messages; configs from JSON."""

import dataclasses
import json

import pytest

from keras_mae.trainers.config import PretrainConfig, changed, from_json, to_json
from keras_mae.trainers.finetune_config import FinetuneConfig
from keras_mae.trainers.probe_config import ProbeConfig

CONFIG = PretrainConfig()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs=7", 7),
        ("hidden_dim=96", 96),
        ("hidden_dim=None", None),
        ("base_learning_rate=1e-3", 1e-3),
        ("warmup_epochs=5", 5),
        ("image_size=(32, 48)", (32, 48)),
        ("image_size=32,48", (32, 48)),
        ("mean=(0.1,)", (0.1,)),
        ("mean=(0.1, 0, 0.3)", (0.1, 0, 0.3)),
        ("mean=None", None),
        ("crop_scale=None", None),
        ("crop_scale=(0.5, 1)", (0.5, 1)),
        ("flip=False", False),
        ("preset=vit_tiny_patch16", "vit_tiny_patch16"),
        ("dtype_policy=mixed_bfloat16", "mixed_bfloat16"),
    ],
)
def test_is_parsed_by_the_fields_type(setting, value):
    key = setting.partition("=")[0]
    config = changed(CONFIG, [setting])
    found = getattr(config, key)
    assert found == value and type(found) is type(value)
    assert config == dataclasses.replace(CONFIG, **{key: value})  # and no other field changed


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs=2.5", "epochs is of type int, got '2.5'"),
        ("epochs=True", "epochs is of type int, got 'True'"),
        ("epochs=ten", "epochs is of type int, got 'ten'"),
        ("epochs=", "epochs is of type int, got ''"),
        ("flip=1", "flip is of type bool, got '1'"),
        ("flip=yes", "flip is of type bool, got 'yes'"),
        ("mask_ratio=high", "mask_ratio is of type float, got 'high'"),
        ("mask_ratio=True", "mask_ratio is of type float, got 'True'"),
        ("mask_ratio=None", "mask_ratio is of type float, got 'None'"),
        ("image_size=32", r"image_size is of type tuple\[int, int\], got '32'"),
        ("image_size=(32, 32, 3)", r"image_size is of type tuple\[int, int\]"),
        ("image_size=(32, 'x')", r"image_size is of type tuple\[int, int\]"),
        ("mean=0.5", r"mean is of type tuple\[float, ...\] \| None, got '0.5'"),
        ("crop_scale=(0.2,)", r"crop_scale is of type tuple\[float, float\] \| None"),
        ("hidden_dim=64.0", r"hidden_dim is of type int \| None, got '64.0'"),
        ("epochs=__import__('os').getpid()", "epochs is of type int"),  # nothing is run
    ],
)
def test_value_of_another_type(setting, message):
    with pytest.raises(ValueError, match=message):
        changed(CONFIG, [setting])


def test_unknown_key_shows_the_near_names_and_all():
    with pytest.raises(ValueError, match=r"no setting .batchsize.; did you mean batch_size.*There are: method, "):
        changed(CONFIG, ["epochs=3", "batchsize=4"])
    with pytest.raises(ValueError, match=r"no setting 'zzzzqq'; there are: method, preset, .*, seed$"):
        changed(CONFIG, ["zzzzqq=4"])
    for not_a_field in ("image_shape=(1, 1, 1)", "__class__=1"):
        with pytest.raises(ValueError, match="there is no setting"):
            changed(CONFIG, [not_a_field])


def test_no_equals_sign():
    with pytest.raises(ValueError, match="a setting is written key=value, got 'epochs'"):
        changed(CONFIG, ["epochs"])


def test_settings_are_applied_in_order_and_the_config_stays():
    assert changed(CONFIG, ["epochs=3", "seed=2", "epochs=5"]) == dataclasses.replace(CONFIG, epochs=5, seed=2)
    assert changed(CONFIG, []) == CONFIG == PretrainConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.epochs = 3


def test_json_round_trip():
    config = changed(
        CONFIG, ["mean=(0.1,)", "std=(0.2,)", "channels=1", "crop_scale=None", "hidden_dim=64", "flip=False"]
    )
    for one in (CONFIG, config):
        assert from_json(json.loads(json.dumps(dataclasses.asdict(one)))) == one


@pytest.mark.parametrize("kind", [PretrainConfig, FinetuneConfig, ProbeConfig])
def test_json_says_which_program(kind):
    config = changed(kind(), ["epochs=3", "image_size=(32, 32)", "std=(0.1,)"])
    record = json.loads(json.dumps(to_json(config)))
    assert record["program"] == kind.program and from_json(record) == config
    with pytest.raises(ValueError, match="there is no setting 'program'"):
        changed(config, ["program=x"])
    with pytest.raises(ValueError, match="the config is one of 'sing'; this version knows pretrain, finetune, linear"):
        from_json({"program": "sing"})


def test_a_config_from_before_the_program_was_named():
    assert from_json(dataclasses.asdict(CONFIG)) == CONFIG


@pytest.mark.parametrize(
    ("config", "peak"),
    [
        (PretrainConfig(), 2.4e-3),  # 1.5e-4 * 4096 / 256
        (FinetuneConfig(), 2e-3),  # 5e-4 * 1024 / 256
        (ProbeConfig(), 6.4),  # 0.1 * 16384 / 256
        (FinetuneConfig(base_learning_rate=1e-3, batch_size=64), 2.5e-4),
    ],
)
def test_scaling_rule_by_hand(config, peak):
    assert config.peak_learning_rate == pytest.approx(peak, rel=1e-12)


def test_derived():
    config = dataclasses.replace(CONFIG, image_size=(8, 12), channels=1, batch_size=64, base_learning_rate=2e-3)
    assert config.image_shape == (8, 12, 1)
    assert config.peak_learning_rate == pytest.approx(5e-4, rel=1e-12)  # float64 round-off
