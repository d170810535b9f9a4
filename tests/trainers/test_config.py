"""`--set key=value`: typed parsing and its messages; configs from JSON."""

import dataclasses
import json

import pytest

from keras_mae.commands.recipes import explanations
from keras_mae.trainers import recipes
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.config import PretrainConfig, from_json, to_json
from keras_mae.trainers.encoder_parts import ENCODERS
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.model_parts import (
    DECODERS,
    LOSSES,
    MASKING,
    METHODS,
    TARGETS,
    Random,
    SimMIM,
    Transformer,
    Units,
)
from keras_mae.trainers.segment_config import SegmentConfig
from keras_mae.trainers.settings import changed, parts_of, replaced
from tests.trainers.pretraining import of

CONFIG = PretrainConfig()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs=7", 7),
        ("encoder.hidden_dim=96", 96),
        ("encoder.hidden_dim=None", None),
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
    (found,) = of(config, key)
    assert found == value and type(found) is type(value)
    assert config == replaced(CONFIG, **{key: value})  # and no other field changed


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs=2.5", "optimizer.epochs is of type int, got 2.5"),
        ("epochs=True", "epochs is of type int, got True"),
        ("epochs=ten", "epochs is of type int, got 'ten'"),
        ("epochs=", "epochs is of type int, got ''"),
        ("flip=1", "flip is of type bool, got 1"),
        ("flip=yes", "flip is of type bool, got 'yes'"),
        ("mask_ratio=high", "mask_ratio is of type float, got 'high'"),
        ("mask_ratio=True", "mask_ratio is of type float, got True"),
        ("mask_ratio=None", "mask_ratio is of type float, got None"),
        ("image_size=32", r"image_size is of type tuple\[int, int\], got 32"),
        ("image_size=(32, 32, 3)", r"image_size is of type tuple\[int, int\]"),
        ("image_size=(32, 'x')", r"image_size is of type tuple\[int, int\]"),
        ("mean=0.5", r"mean is of type tuple\[float, ...\] \| None, got 0.5"),
        ("crop_scale=(0.2,)", r"crop_scale is of type tuple\[float, float\] \| None"),
        ("encoder.hidden_dim=64.0", r"hidden_dim is of type int \| None, got 64.0"),
        ("epochs=__import__('os').getpid()", "epochs is of type int"),  # nothing is run
    ],
)
def test_value_of_another_type(setting, message):
    with pytest.raises(ValueError, match=message):
        changed(CONFIG, [setting])


def test_unknown_key_shows_the_near_names_and_all():
    with pytest.raises(ValueError, match=r"no setting .batchsize.; did you mean batch_size.*There are: method, "):
        changed(CONFIG, ["epochs=3", "batchsize=4"])
    everything = r"there are: method, .*, encoder, preset, .*, decoder.hidden_dim, .*, stop_after$"
    with pytest.raises(ValueError, match=f"no setting 'zzzzqq'; {everything}"):
        changed(CONFIG, ["zzzzqq=4"])
    for not_a_field in ("image_shape=(1, 1, 1)", "__class__=1"):
        with pytest.raises(ValueError, match="there is no setting"):
            changed(CONFIG, [not_a_field])


def test_no_equals_sign():
    with pytest.raises(ValueError, match="a setting is written key=value, got 'epochs'"):
        changed(CONFIG, ["epochs"])


def test_settings_are_applied_in_order_and_the_config_stays():
    assert changed(CONFIG, ["epochs=3", "seed=2", "epochs=5"]) == replaced(CONFIG, epochs=5, seed=2)
    assert changed(CONFIG, []) == CONFIG == PretrainConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.optimizer.epochs = 3


def test_json_round_trip():
    settings = ["mean=(0.1,)", "std=(0.2,)", "channels=1", "crop_scale=None", "encoder.hidden_dim=64", "masking=units"]
    for one in (CONFIG, changed(CONFIG, settings), changed(CONFIG, ["method=simmim", "target=pca"])):
        assert from_json(json.loads(json.dumps(to_json(one)))) == one


def test_json_is_nested_and_names_the_kinds():
    record = to_json(changed(CONFIG, ["method=simmim", "masking=units", "unit=8"]))
    assert list(record) == [
        "program",
        "method",
        "encoder",
        "masking",
        "target",
        "loss",
        "data",
        "optimizer",
        "run",
        "evaluation",
    ]
    assert record["method"] == {"kind": "simmim"} and record["masking"] == {
        "kind": "units",
        "mask_ratio": 0.75,
        "unit": 8,
    }
    assert record["optimizer"]["epochs"] == 800


@pytest.mark.parametrize("kind", [PretrainConfig, FinetuneConfig, SegmentConfig, ProbeConfig])
def test_json_says_which_program(kind):
    config = changed(kind(), ["epochs=3", "image_size=(32, 32)", "std=(0.1,)"])
    record = json.loads(json.dumps(to_json(config)))
    assert record["program"] == kind.program and from_json(record) == config
    with pytest.raises(ValueError, match="there is no setting 'program'"):
        changed(config, ["program=x"])
    with pytest.raises(
        ValueError, match="the config is one of 'sing'; this version knows pretrain, finetune, segment, linear"
    ):
        from_json({"program": "sing"})


@pytest.mark.parametrize("given", [True, False])
def test_the_class_token_in_a_config_of_an_earlier_version(given):
    record = to_json(CONFIG)
    del record["encoder"]["num_cls_tokens"]
    record["encoder"]["use_cls_token"] = given
    assert from_json(record) == changed(CONFIG, [f"num_cls_tokens={int(given)}"])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"epochs": 3}, "settings that this version does not know: epochs"),
        ({"masking": {"kind": "random", "unit": 3}}, "settings that this version does not know: masking.unit"),
        ({"masking": {"kind": "unit"}}, "no masking is called 'unit'; did you mean units"),
        ({"masking": {"mask_ratio": 0.5}}, "no masking is called None; there are: random"),
        ({"masking": "random"}, "masking is an object of settings, got 'random'"),
        ({"method": {"kind": "simmim"}, "decoder": {"kind": "transformer"}}, "method=simmim has no decoder"),
        ({"optimizer": {"epochs": 0}}, r"optimizer.epochs lies in \[1, 1000000\], got optimizer.epochs=0"),
    ],
)
def test_json_that_is_none(record, message):
    with pytest.raises(ValueError, match=message):
        from_json({"program": "pretrain", **record})


@pytest.mark.parametrize(
    ("config", "peak"),
    [
        (PretrainConfig(), 2.4e-3),  # 1.5e-4 * 4096 / 256
        (FinetuneConfig(), 2e-3),  # 5e-4 * 1024 / 256
        (ProbeConfig(), 6.4),  # 0.1 * 16384 / 256
        (replaced(FinetuneConfig(), base_learning_rate=1e-3, batch_size=64), 2.5e-4),
    ],
)
def test_scaling_rule_by_hand(config, peak):
    assert config.optimizer.peak_learning_rate == pytest.approx(peak, rel=1e-12)


def test_derived():
    config = replaced(CONFIG, image_size=(8, 12), channels=1, batch_size=64, base_learning_rate=2e-3)
    assert config.encoder.image_shape == (8, 12, 1)
    assert config.optimizer.peak_learning_rate == pytest.approx(5e-4, rel=1e-12)  # float64 round-off


@pytest.mark.parametrize("order", [1, -1])
def test_kinds_are_chosen_first_whatever_the_order(order):
    config = changed(CONFIG, ["masking=units", "unit=8", "mask_ratio=0.5"][::order])
    assert config.masking == Units(mask_ratio=0.5, unit=8)
    assert changed(CONFIG, ["masking=grid", "masking=units"]).masking == Units()


def test_another_kind_keeps_what_was_set_and_both_have():
    simmim = recipes.load("simmim_vit_base")
    assert simmim.masking == Units(mask_ratio=0.6, unit=32)
    assert changed(simmim, ["masking=random"]).masking == Random(mask_ratio=0.6)
    assert changed(simmim, ["masking=units"]) == simmim
    mae = changed(simmim, ["method=mae", "decoder.num_layers=2"])
    assert mae.decoder == Transformer(num_layers=2) and changed(mae, ["method=simmim"]) == simmim


def test_full_names_and_last_ones():
    assert changed(CONFIG, ["optimizer.epochs=3", "masking.mask_ratio=0.5"]) == changed(
        CONFIG, ["epochs=3", "mask_ratio=0.5"]
    )
    assert changed(CONFIG, ["epochs=3", "optimizer.epochs=5", "run.seed=1"]) == replaced(CONFIG, epochs=5, seed=1)
    with pytest.raises(ValueError, match="decoder: type --set encoder.num_heads=2 or --set decoder.num_heads=2"):
        changed(CONFIG, ["num_heads=2"])
    assert changed(CONFIG, ["method=simmim", "num_heads=2"]).encoder.num_heads == 2  # there is no decoder
    assert changed(FinetuneConfig(), ["run=runs/x"]).encoder.run == "runs/x"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("unit=32", "unit is for masking=units; the masking is random; type --set masking=units, too"),
        ("mask_unit=32", "unit is for masking=units"),
        ("masking.unit=32", "masking.unit is for masking=units; the masking is random"),
        ("sampler=units", "did you mean masking. Type --set masking=units"),
        ("decoder_num_layers=2", "did you mean decoder.num_layers. Type --set decoder.num_layers=2"),
        ("depth=2", "did you mean encoder.num_layers or decoder.num_layers. Type --set encoder.num_layers=2"),
        ("tokenizer=x", "tokenizer is for target=tokens; the target is pixels"),
        ("data=x", "data is a part of several settings, .*: data.background, "),
    ],
)
def test_what_is_not_of_the_kind_that_is_chosen(setting, message):
    with pytest.raises(ValueError, match=message):
        changed(CONFIG, [setting])


def test_a_method_without_a_decoder():
    for setting in ("decoder.num_layers=2", "decoder=transformer"):
        with pytest.raises(ValueError, match="method=simmim has n"):
            changed(CONFIG, ["method=simmim", setting])
    with pytest.raises(ValueError, match="method=simmim has no decoder; leave it out"):
        PretrainConfig(method=SimMIM(), decoder=Transformer())


def test_parts_in_python():
    assert replaced(CONFIG, masking=Units(unit=8), epochs=3) == replaced(CONFIG, masking="units", unit=8, epochs=3)
    with pytest.raises(
        ValueError, match="masking is not registered: <class 'int'>; there are: random, units, blocks, grid"
    ):
        PretrainConfig(masking=3)
    with pytest.raises(ValueError, match="optimizer is PretrainOptimizer, got ProbeOptimizer"):
        replaced(CONFIG, optimizer=ProbeConfig().optimizer)


def test_every_setting_of_every_kind_is_explained_in_its_docstring():
    kinds = [kind for registry in (METHODS, ENCODERS, MASKING, TARGETS, LOSSES, DECODERS) for kind in registry.values()]
    fixed = [
        type(part)
        for kind in (PretrainConfig, FinetuneConfig, ProbeConfig, KnnConfig)
        for part in parts_of(kind()).values()
    ]
    for part in {*kinds, *fixed}:
        fields = {field.name for field in dataclasses.fields(part)}
        assert set(explanations(part)) == fields and part.__doc__, part
