"""LARS against the paper's algorithm written in PyTorch, and against PyTorch's SGD for what is not scaled."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_mae.optimizers import LARS, WarmupCosine

SHAPES = ((4, 3), (2, 3, 4, 2), (5,))


def run(optimizer, values, gradients, scale=1.0):
    variables = [keras.Variable(value, dtype="float32", name=f"v{i}") for i, value in enumerate(values)]
    optimizer.build(variables)
    for step in gradients:
        pairs = [(tf.constant(scale * g, tf.float32), v) for g, v in zip(step, variables, strict=True)]
        optimizer.apply_gradients(pairs)
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def drawn(steps, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=s) for s in SHAPES], [[rng.normal(size=s) for s in SHAPES] for _ in range(steps)]


def algorithm_1(values, gradients, rate, momentum, trust):
    """The paper's: local rate = trust |w| / |g|; v = momentum v + rate * local rate * g; w -= v. No decay."""
    weights = [torch.tensor(value) for value in values]
    velocities = [torch.zeros_like(w) for w in weights]
    for step in gradients:
        for i, gradient in enumerate(map(torch.tensor, step)):
            local = trust * weights[i].norm() / gradient.norm() if weights[i].ndim > 1 else 1.0
            velocities[i] = momentum * velocities[i] + rate * local * gradient
            weights[i] = weights[i] - velocities[i]
    return [w.numpy() for w in weights]


@pytest.mark.parametrize("float16", [False, True])
def test_is_the_papers_algorithm(float16):
    values, gradients = drawn(5)
    optimizer = LARS(2.0, momentum=0.9, trust_coefficient=0.05)
    if float16:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=16.0)
    found = run(optimizer, values, gradients, scale=16.0 if float16 else 1.0)
    expected = algorithm_1(values, gradients, 2.0, 0.9, 0.05)
    for one, other, before in zip(found, expected, values, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)  # float32, five steps
        assert np.abs(one - before).max() > 0.1  # and they went somewhere


def test_schedule_and_decay_are_applied_as_by_torch():
    """torch.optim.SGD, whose rate comes after the momentum, on gradients scaled by hand."""
    values, gradients = drawn(5, seed=1)
    schedule = WarmupCosine(3.0, 2, 6)
    found = run(LARS(schedule, weight_decay=0.2, trust_coefficient=0.05), values, gradients)
    parameters = [torch.tensor(value) for value in values]
    sgd = torch.optim.SGD(parameters, lr=1.0, momentum=0.9)
    for step, drawn_gradients in enumerate(gradients):
        for w, g in zip(parameters, map(torch.tensor, drawn_gradients), strict=True):
            update = g + 0.2 * w
            w.grad = 0.05 * w.norm() / update.norm() * update if w.ndim > 1 else g
        sgd.param_groups[0]["lr"] = float(schedule(step))
        sgd.step()
    for one, other in zip(found, parameters, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-5)  # float32, five steps


def test_the_step_is_a_share_of_the_norm_by_hand():
    """|w| = 5 and |g| = 10: trust 0.1 and rate 2 move w by 2 * 0.1 * 5 = 1 along g; a bias moves by 2 g."""
    values = [np.array([[3.0, 4.0]]), np.array([1.0])]
    variables = [keras.Variable(value, dtype="float32") for value in values]
    optimizer = LARS(2.0, trust_coefficient=0.1)
    optimizer.apply_gradients([(tf.constant([[0.0, 10.0]]), variables[0]), (tf.constant([0.25]), variables[1])])
    np.testing.assert_allclose(variables[0], [[3.0, 3.0]], rtol=1e-6)
    np.testing.assert_allclose(variables[1], [0.5], rtol=1e-6)


def test_zeros_are_not_scaled():
    """A kernel of zeros takes the plain step, or it would stay zero; a gradient of zeros gives no NaN."""
    variables = [keras.Variable(np.zeros((2, 2)), dtype="float32"), keras.Variable(np.ones((2, 2)), dtype="float32")]
    LARS(0.5).apply_gradients([(tf.ones((2, 2)), variables[0]), (tf.zeros((2, 2)), variables[1])])
    np.testing.assert_array_equal(variables[0], np.full((2, 2), -0.5))
    np.testing.assert_array_equal(variables[1], np.ones((2, 2)))


def test_config_round_trip():
    optimizer = LARS(WarmupCosine(3.0, 2, 6), momentum=0.8, weight_decay=0.1, trust_coefficient=0.02)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(copy, LARS) and copy.get_config() == optimizer.get_config()
    assert (copy.momentum, copy.weight_decay, copy.trust_coefficient) == (0.8, 0.1, 0.02)
    assert (LARS().momentum, LARS().weight_decay, LARS().trust_coefficient) == (0.9, 0, 0.001)
