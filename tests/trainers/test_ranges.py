"""Every setting of every program has a range or a list of names, and what lies outside is refused by its key."""

import dataclasses
import json
import math
import typing

import pytest

from keras_mae.encoders import POOLINGS
from keras_mae.trainers import ranges, recipes
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.config import PretrainConfig, from_json, to_json
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.settings import changed, replaced, values_of

KINDS = [PretrainConfig, FinetuneConfig, ProbeConfig, KnnConfig]
# every setting of the default kinds, and of the others of pretraining
CONFIGS = [kind() for kind in KINDS]
OTHERS = [{"masking": "units"}, {"target": "pca"}, {"target": "tokens"}]
SETTINGS = [(config, key) for config in CONFIGS for key in values_of(config) if "." in key]
SETTINGS += [
    (c, k) for c in (replaced(CONFIGS[0], **o) for o in OTHERS) for k in values_of(c) if k not in values_of(CONFIGS[0])
]


def leaves(hint):
    """The types without None and tuples around them."""
    if typing.get_origin(hint) in (typing.Annotated, typing.Literal) or hint is Ellipsis:
        return [hint]
    return [leaf for one in typing.get_args(hint) for leaf in leaves(one)] or [hint]


@pytest.mark.parametrize(("config", "key"), SETTINGS)
def test_every_setting_refuses_what_lies_outside(config, key):
    part, _, name = key.partition(".")
    hint = ranges.hints_of(type(getattr(config, part)))[name]
    leaf, *others = [leaf for leaf in leaves(hint) if leaf not in (type(None), Ellipsis)]
    assert all(other == leaf for other in others)
    if ranges.names_of(hint):
        bad = ["", "nonsense", 7]
    elif leaf is bool:
        bad = ["yes", 1]
    elif leaf is str:
        bad = ["", " ", 3, "a\0b"]
    else:
        limits = typing.get_args(leaf)[1]
        assert isinstance(limits, ranges.Range), f"{key} has no range"
        below = limits.least if limits.least in limits.without else limits.least - 1
        above = limits.most if limits.most in limits.without else limits.most + 1
        bad = [below, above, -math.inf, math.inf, math.nan, -(10**40), 10**40, True, "much", {}, 1j]
        length = ranges._tuple_length(hint)
        if length is not None:
            whole = values_of(config)[key] or (limits.most if math.isfinite(limits.most) else 1,) * (length or 2)
            bad = [*((one, *whole[1:]) for one in bad), 5, ()] + ([(*whole, whole[0])] if length else [])
    for value in bad:
        with pytest.raises(ValueError, match=rf"\b{key}\b"):
            replaced(config, **{key: value})
        with pytest.raises(ValueError, match=rf"\b{key}\b"):
            dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **{name: value})})
        record = to_json(config)
        record[part][name] = value  # the same code reads what a run has stored
        with pytest.raises(ValueError, match=rf"\b{key}\b"):
            from_json(record)


@pytest.mark.parametrize("text", ["{[]:1}", "(" * 5000, "9" * 5000, "1+", "\0", "-", "[" * 300 + "]" * 300, "{1:2}[1]"])
@pytest.mark.parametrize("key", ["epochs", "image_size", "mean", "flip", "mask_ratio", "clip_norm"])
def test_no_literal_ends_in_anything_but_one_sentence(key, text):
    with pytest.raises(ValueError, match=key) as caught:
        changed(PretrainConfig(), [f"{key}={text}"])
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch_size=0", r"optimizer.batch_size lies in \[1, 16777216\], got optimizer.batch_size=0"),
        (
            "base_learning_rate=-1e-3",
            r"base_learning_rate lies in \(0, 1000\], got optimizer.base_learning_rate=-0.001",
        ),
        ("beta_2=1.0", r"beta_2 lies in \[0, 1\), got optimizer.beta_2=1.0"),
        (
            "image_size=(0,0)",
            r"every number of encoder.image_size lies in \[1, 65536\], got encoder.image_size=\(0, 0\)",
        ),
        ("image_size=64", r"type --set 'encoder.image_size=\(64, 64\)'"),
        ("mean=0.5", r"type --set 'encoder.mean=\(0.5, 0.5, 0.5\)', one for each channel"),
        ("masking=blcoks", "no masking is called 'blcoks'; did you mean blocks"),
        ("dtype_policy=float16", "no run.dtype_policy is called 'float16'; did you mean .*float32"),
        ("lr=1e-3", "did you mean base_learning_rate. Type --set base_learning_rate=1e-3"),
        ("batch-size=8", "Type --set batch_size=8"),
    ],
)
def test_messages(setting, message):
    with pytest.raises(ValueError, match=message):
        changed(PretrainConfig(), [setting])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["epochs=3"], "warm-up must be shorter than the run: got warmup_epochs=40 of epochs=3; type --set warmup_epo"),
        (["image_size=(65, 64)"], r"type --set 'image_size=\(64, 64\)'"),
        (
            ["encoder.hidden_dim=64", "encoder.num_heads=5"],
            "encoder.hidden_dim must be divisible by encoder.num_heads: .* --set encoder.hidden_dim=65",
        ),
        (["decoder.hidden_dim=100"], "decoder.hidden_dim must be divisible .* --set decoder.hidden_dim=112"),
        (["mean=(0.5,)"], "mean has one number for each of channels=3, got 1"),
        (["crop_scale=(1.0, 0.2)"], r"type --set 'crop_scale=\(0.2, 1.0\)'"),
        (["milestones=(700, 600)"], "milestones rise, and come after the warm-up"),
        (["milestones=(900,)"], "milestones lie within the run"),
        (["milestones=()"], r"optimizer.milestones has one number or more, got \(\)"),
        (["batch_size=10", "accumulation_steps=4"], "type --set accumulation_steps=2, or another batch_size"),
        (["target=tokens"], "target=tokens needs a tokenizer"),
    ],
)
def test_what_does_not_go_together(settings, message):
    with pytest.raises(ValueError, match=message):
        check_together(changed(PretrainConfig(), settings))


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_go_together(name):
    check_together(recipes.load(name))


def test_a_pooling_that_is_registered_is_known(monkeypatch):
    monkeypatch.setattr(POOLINGS, "_entries", {**POOLINGS._entries, "largest": None})
    assert replaced(KnnConfig(), pooling="largest").encoder.pooling == "largest"
    with pytest.raises(ValueError, match="no encoder.pooling is called 'lagest'; did you mean largest"):
        replaced(KnnConfig(), pooling="lagest")


@pytest.mark.parametrize("record", [[], 3, None, "x", {"program": {}}, {"program": 3}, {"epochs": "many"}])
def test_a_config_that_is_none(record):
    with pytest.raises(ValueError):
        from_json(record)


def test_every_config_comes_back_from_json():
    for kind in KINDS:
        assert from_json(json.loads(json.dumps(to_json(kind())))) == kind()
