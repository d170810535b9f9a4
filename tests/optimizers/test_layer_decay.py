"""Layer-wise decay: the scales by hand, and the steps against PyTorch's parameter groups."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_mae.models import ImageClassifier
from keras_mae.optimizers import AdamW, WarmupCosine, adamw, layer_decay_scales
from keras_mae.optimizers.parameter_groups import names_of, select
from tests.base import small_encoder, small_mae


def small_classifier(num_layers=2, **arguments):
    return ImageClassifier(small_encoder(num_layers=num_layers), num_classes=3, **arguments)


def test_scales_by_hand():
    """Three blocks: stem 0.5^4, blocks 0.5^3, 0.5^2, 0.5^1, norm and head 1."""
    scales = layer_decay_scales(small_classifier(num_layers=3), 0.5)
    expected = {"patch_projection": 0.0625, "block_0": 0.125, "block_1": 0.25, "block_2": 0.5, "norm": 1, "head": 1}
    for path, scale in scales.items():
        part = path.split("/")[1]
        assert scale == (0.0625 if part == "cls_token" else expected[part]), path
    assert {path.split("/")[1] for path in scales} == {*expected, "cls_token"}


def test_scales_of_vit_base():
    """12 blocks and 0.65, as in the paper: 0.65^13 = 0.0036972 for the stem, 0.65 for the last block."""
    encoder = small_encoder(num_layers=12, hidden_dim=4, num_heads=1, mlp_dim=4)
    scales = layer_decay_scales(ImageClassifier(encoder, 3), 0.65)
    assert scales["vit_encoder/cls_token"] == pytest.approx(0.0036972, rel=1e-4)
    assert scales["vit_encoder/block_0/norm1/gamma"] == pytest.approx(0.0056880, rel=1e-4)
    assert scales["vit_encoder/block_11/norm1/gamma"] == pytest.approx(0.65)


@pytest.mark.parametrize("count", [0.5, 1])
def test_frozen_layers_still_count(count):
    scales = layer_decay_scales(small_classifier(num_layers=3, num_trainable_layers=count), 0.5)
    assert {path.split("/")[1]: scale for path, scale in scales.items()} == {"block_2": 0.5, "norm": 1, "head": 1}


@pytest.mark.parametrize("decay", [0, -0.5, 1.5])
def test_bad_decay(decay):
    with pytest.raises(ValueError, match=rf"layer-wise decay is a factor in \(0, 1\], got {decay}"):
        layer_decay_scales(small_classifier(), decay)


@pytest.mark.parametrize("float16", [False, True])
def test_steps_are_those_of_torch(float16):
    """torch.optim.AdamW with a group for each layer and kind, its rate set before every step as timm's scripts do."""
    model = small_classifier()
    rates = WarmupCosine(0.01, 2, 5, minimum=1e-3)
    optimizer = adamw(model, rates, weight_decay=0.3, beta_2=0.999, layer_decay=0.5)
    inner = optimizer
    if float16:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
    variables = model.trainable_variables
    optimizer.build(variables)

    undecayed = {id(variable) for variable in model.no_weight_decay()}
    parameters = {id(v): torch.tensor(keras.ops.convert_to_numpy(v), dtype=torch.float64) for v in variables}
    groups = [
        {"params": [parameters[id(v)] for v in group if (id(v) in undecayed) == bare], "layer": layer, "bare": bare}
        for layer, group in enumerate(model.layer_groups())
        for bare in (False, True)
    ]
    torch_optimizer = torch.optim.AdamW(
        [{**g, "weight_decay": 0.0 if g["bare"] else 0.3} for g in groups if g["params"]], betas=(0.9, 0.999), eps=1e-8
    )
    for step in range(4):
        rng = np.random.default_rng(step)
        # away from zero, where the two epsilons differ (Keras' is inside of the bias correction)
        gradients = [rng.uniform(0.1, 1, v.shape) * rng.choice([-1, 1], v.shape) for v in variables]
        scale = 8.0 if float16 else 1.0
        optimizer.apply_gradients([(tf.constant(scale * g, tf.float32), v) for g, v in zip(gradients, variables)])
        for variable, gradient in zip(variables, gradients, strict=True):
            parameters[id(variable)].grad = torch.tensor(gradient)
        for group in torch_optimizer.param_groups:
            group["lr"] = float(rates(step)) * 0.5 ** (3 - group["layer"])
        torch_optimizer.step()
    assert int(inner.iterations) == 4
    for variable in variables:
        # 1e-5 of what four steps of up to 0.01 moved values of about 1, and round-off of float32
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(variable),
            parameters[id(variable)].numpy(),
            rtol=0,
            atol=1e-6,
            err_msg=variable.path,
        )


def test_config_round_trip_keeps_groups():
    """What Keras' own `exclude_from_weight_decay` loses."""
    model = small_classifier()
    optimizer = adamw(model, WarmupCosine(0.1, 1, 9), weight_decay=0.3, beta_2=0.97, layer_decay=0.5)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(copy, AdamW) and copy.get_config() == optimizer.get_config()
    before = {v.path: keras.ops.convert_to_numpy(v) for v in model.trainable_variables}
    ends = []
    for one in (optimizer, copy):
        for variable in model.trainable_variables:
            variable.assign(before[variable.path] + 1)
        for _ in range(2):  # the rate of the first is 0
            one.apply_gradients([(tf.ones(v.shape), v) for v in model.trainable_variables])
        ends.append([keras.ops.convert_to_numpy(v) for v in model.trainable_variables])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_pattern_that_matches_nothing_and_a_variable_without_a_scale():
    variables = small_classifier().trainable_variables
    with pytest.raises(ValueError, match=r"no trainable variable matches '\*/biases'"):
        AdamW(no_weight_decay=["*/biases"]).build(variables)
    with pytest.raises(ValueError, match="in no group: vit_encoder/cls_token, vit_encoder/patch_projection/kernel"):
        AdamW(learning_rate_scales={"*/block_*": 0.5, "*/norm/*": 1.0}).build(variables)


def twins():
    """An encoder and a decoder of one name, whose blocks and norms have the same paths."""
    encoder = small_encoder(num_layers=2, name="vit")
    return small_mae(encoder, decoder={"name": "vit", "num_layers": 2})


def steps(optimizer, variables):
    """How far each variable goes in one step with gradients of 1: Adam's first step is its rate."""
    before = [keras.ops.convert_to_numpy(variable) for variable in variables]
    optimizer.apply_gradients([(tf.ones(variable.shape), variable) for variable in variables])
    return [float((old - keras.ops.convert_to_numpy(v)).mean()) for old, v in zip(before, variables, strict=True)]


def test_layers_of_one_name_keep_their_own_rates():
    """Stem 0.5^4, blocks 0.5^3 and 0.5^2, norm 0.5, decoder 1: with gradients of 1 a step is the rate."""
    mae = twins()
    paths = [variable.path for variable in mae.trainable_variables]
    assert len(set(paths)) < len(paths)
    expected = {id(v): 0.5 ** (4 - layer) for layer, group in enumerate(mae.layer_groups()) for v in group}
    optimizer = adamw(mae, 0.1, weight_decay=0.0, layer_decay=0.5)
    optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    moved = steps(optimizer, mae.trainable_variables)
    # of values around 1, in float32
    np.testing.assert_allclose(moved, [0.1 * expected[id(v)] for v in mae.trainable_variables], rtol=1e-4)


def test_layers_of_one_name_are_decayed_each_for_itself():
    mae = twins()
    names = names_of(mae.trainable_variables)
    assert len(set(names.values())) == len(names)
    bare = next(v for v in mae.decoder.trainable_variables if v.path.endswith("block_0/norm1/gamma"))
    assert names[id(bare)] == "vit/block_0/norm1/gamma#2"
    optimizer = AdamW(0.1, 0.5, no_weight_decay=[names[id(bare)]])
    for variable in mae.trainable_variables:
        variable.assign(tf.ones(variable.shape))
    optimizer.apply_gradients([(tf.zeros(v.shape), v) for v in mae.trainable_variables])
    for variable in mae.trainable_variables:
        expected = 1.0 if variable is bare else 0.95
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, rtol=1e-6)


def test_a_pattern_of_paths_is_for_all_layers_of_that_name():
    variables = twins().trainable_variables
    (gammas,) = select(variables, ["*/block_0/norm1/gamma"])
    (first,) = select(variables, ["vit/block_0/norm1/gamma"])
    assert len(gammas) == 2 and first == gammas[:1]
