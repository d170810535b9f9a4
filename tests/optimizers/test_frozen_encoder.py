"""An encoder that stays frozen at first: to the bit, and then as PyTorch's AdamW that gets its group later."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_mae.optimizers import AdamW, WarmupCosine, adamw
from tests.base import random_images, small_encoder, small_mae, small_simmim, weights_of

FROZEN, RISING = 3, 2


def encoder_and_rest(model):
    inside = {id(v) for v in model.encoder.weights}
    variables = model.trainable_variables
    return [v for v in variables if id(v) in inside], [v for v in variables if id(v) not in inside]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("in_one_pass", "beta_2"),
    [
        (True, 0.95),
        (False, 0.999),
        pytest.param(True, 0.999, marks=pytest.mark.slow),
        pytest.param(False, 0.95, marks=pytest.mark.slow),
    ],
)
def test_steps_are_those_of_torch_with_a_group_that_is_added_later(monkeypatch, beta_2, in_one_pass):
    """The rate of the group is set before every step: 0, 1/2, 1, 1 of the schedule's, by layer too."""
    monkeypatch.setattr(tf.distribute, "has_strategy", lambda: not in_one_pass)
    model = small_mae()
    rates = WarmupCosine(0.01, 2, 9, minimum=1e-3)
    optimizer = adamw(model, rates, 0.3, beta_2, layer_decay=0.5, frozen_steps=FROZEN, rising_steps=RISING)
    variables = model.trainable_variables
    optimizer.build(variables)
    late = {id(v) for v in encoder_and_rest(model)[0]}
    depth = {id(v): 3 - layer for layer, group in enumerate(model.layer_groups()) for v in group}
    undecayed = {id(v) for v in model.no_weight_decay()}
    parameters = {id(v): torch.tensor(keras.ops.convert_to_numpy(v), dtype=torch.float64) for v in variables}

    def groups(of_late):
        for v in variables:
            if (id(v) in late) == of_late:
                decay = 0.0 if id(v) in undecayed else 0.3
                yield {"params": [parameters[id(v)]], "weight_decay": decay, "depth": depth[id(v)], "late": of_late}

    reference = torch.optim.AdamW(list(groups(False)), betas=(0.9, beta_2), eps=1e-8)
    before = weights_of(model.encoder)
    for step in range(7):
        rng = np.random.default_rng(step)
        # away from zero, where the two epsilons differ (Keras' is inside of the bias correction)
        gradients = [rng.uniform(0.1, 1, v.shape) * rng.choice([-1, 1], v.shape) for v in variables]
        optimizer.apply_gradients([(tf.constant(g, tf.float32), v) for g, v in zip(gradients, variables)])
        if step == FROZEN:
            for group in groups(True):
                reference.add_param_group(group)
        for v, gradient in zip(variables, gradients, strict=True):
            parameters[id(v)].grad = torch.tensor(gradient)
        for group in reference.param_groups:
            share = min((step - FROZEN) / RISING, 1.0) if group["late"] else 1.0
            group["lr"] = float(rates(step)) * 0.5 ** group["depth"] * share
        reference.step()
        if step < FROZEN + 1:  # the first rate after that is 0
            for one, other in zip(weights_of(model.encoder), before, strict=True):
                assert one.tobytes() == other.tobytes()
    for v in variables:
        # 1e-5 of what four steps of up to 0.01 moved values of about 1, and round-off of float32
        moved = keras.ops.convert_to_numpy(v)
        np.testing.assert_allclose(moved, parameters[id(v)].numpy(), rtol=0, atol=2e-6, err_msg=v.path)


def test_without_a_rise_the_rate_is_the_schedules_at_once():
    model = small_mae()
    optimizer = adamw(model, 0.1, weight_decay=0.0, frozen_steps=1)
    late, rest = encoder_and_rest(model)
    for expected in ((0.0, 0.1), (0.1, 0.1)):
        before = [keras.ops.convert_to_numpy(v) for v in (*late, *rest)]
        optimizer.apply_gradients([(tf.ones(v.shape), v) for v in model.trainable_variables])
        moved = [float((old - keras.ops.convert_to_numpy(v)).mean()) for old, v in zip(before, (*late, *rest))]
        np.testing.assert_allclose(moved[: len(late)], expected[0], rtol=1e-4)  # of values around 1, in float32
        np.testing.assert_allclose(moved[len(late) :], expected[1], rtol=1e-4)


def train(model, images, steps, optimizer=None, **arguments):
    optimizer = optimizer or adamw(model, 0.01, 0.3, layer_decay=0.5, frozen_steps=2, rising_steps=1)
    model.compile(optimizer, **arguments)
    for step in range(steps):
        model.train_on_batch(images[4 * step : 4 * step + 4])
    return model


@pytest.mark.medium
@pytest.mark.parametrize(("make", "policy"), [(small_mae, "float32"), (small_simmim, "mixed_float16")])
def test_training_leaves_the_encoder_as_it_is_and_then_trains_all(make, policy):
    """Weights of -0 too; mask token, decoder and what else stands behind the encoder learn from the first step."""
    images = random_images(16, (8, 12, 3))
    model = make(dtype=policy)
    model.encoder.patch_projection.kernel.assign(-tf.zeros_like(model.encoder.patch_projection.kernel) * 1.0)
    late, rest = encoder_and_rest(model)
    before = [keras.ops.convert_to_numpy(v) for v in late], [keras.ops.convert_to_numpy(v) for v in rest]
    train(model, images, 2, jit_compile=policy == "float32")
    for v, old in zip(late, before[0], strict=True):
        assert keras.ops.convert_to_numpy(v).tobytes() == old.tobytes(), v.path
    for v, old in zip(rest, before[1], strict=True):
        assert (keras.ops.convert_to_numpy(v) != old).any(), v.path
    for step in (2, 3):
        model.train_on_batch(images[4 * step : 4 * step + 4])
    assert all((keras.ops.convert_to_numpy(v) != old).any() for v, old in zip(late, before[0]) if old.ndim > 1)


@pytest.mark.medium
def test_the_norm_is_of_what_is_trained():
    """Clipping with a frozen encoder is that of a model whose encoder is not trained."""
    images = random_images(4, (8, 12, 3))
    ends = []
    for frozen in (False, True):
        model = small_mae()
        model.encoder.trainable = not frozen
        optimizer = adamw(model, 0.01, 0.3, frozen_steps=0 if frozen else 5)
        train(model, images, 1, optimizer, clip_norm=1e-3, run_eagerly=True)
        ends.append(weights_of(model.decoder))
    for one, other in zip(*ends, strict=True):
        # sums in another order: round-off of float32 on steps of 0.01
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_config_round_trip():
    model = small_mae()
    optimizer = adamw(model, WarmupCosine(0.1, 1, 9), layer_decay=0.5, frozen_steps=4, rising_steps=2)
    config = optimizer.get_config()
    assert (config["frozen_steps"], config["rising_steps"]) == (4, 2)
    assert len(config["frozen"]) == len(encoder_and_rest(model)[0])
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(copy, AdamW) and copy.get_config() == config


def test_scales_of_what_stands_behind_the_encoder():
    """Encoder: stem 0.5^3, block 0.5^2, norm 0.5; decoder and mask token have the full rate."""
    from keras_mae.optimizers import layer_decay_scales

    simmim = small_simmim(name="simmim")
    scales = {
        path.split("/")[-1 if "mask" in path else 1]: scale for path, scale in layer_decay_scales(simmim, 0.5).items()
    }
    assert scales.pop("mask_token") == 1.0 and scales.pop("norm") == 0.5
    assert (scales["patch_projection"], scales["block_0"]) == (0.125, 0.25)


@pytest.mark.parametrize("name", ["frozen_steps", "rising_steps"])
def test_a_negative_number_of_steps_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is at least 0, got -1"):
        adamw(small_encoder(), 0.1, **{name: -1})
