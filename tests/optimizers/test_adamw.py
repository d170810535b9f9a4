"""AdamW decays exactly what it should, and takes the step of its definition."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.models import ImageClassifier
from keras_mae.optimizers import AdamW, adamw
from tests.base import small_encoder, small_mae

RATE, DECAY = 0.1, 0.25
MAKE = {
    "encoder": lambda: small_encoder(position_embedding="learned"),
    "masked autoencoder": lambda: small_mae(position_embedding="learned"),
    "classifier": lambda: ImageClassifier(small_encoder(), num_classes=3),
}


@pytest.mark.parametrize("kind", MAKE)
def test_decays_kernels_and_nothing_else(kind):
    """With gradients of zero Adam does not move, so that a step is the decay alone: w - rate * decay * w."""
    model = MAKE[kind]()
    variables = model.trainable_variables
    for seed, variable in enumerate(variables):  # a bias of zero would not show that it is decayed
        variable.assign(np.random.default_rng(seed).uniform(0.5, 1.5, variable.shape))
    before = [keras.ops.convert_to_numpy(variable) for variable in variables]
    optimizer = adamw(model, RATE, DECAY)
    optimizer.apply_gradients([(tf.zeros(variable.shape), variable) for variable in variables])

    decayed = set()
    for variable, old in zip(variables, before, strict=True):
        new = keras.ops.convert_to_numpy(variable)
        if (new == old).all():
            continue
        decayed.add(variable.path)
        # a product and a difference in float32: round-off of 6e-8 each
        np.testing.assert_allclose(new, old * (1 - RATE * DECAY), rtol=3e-7)
    assert decayed == {variable.path for variable in variables if variable.path.endswith("/kernel")}
    excluded = {variable.path for variable in model.no_weight_decay()}
    assert not decayed & excluded and decayed | excluded == {variable.path for variable in variables}
    assert any("table" in path for path in excluded) == (kind != "classifier")  # learned positions were given


def test_the_step_is_that_of_the_paper():
    """Two steps by hand, in float64, with the betas of MAE."""
    model = small_encoder(num_layers=1)
    optimizer = adamw(model, RATE, DECAY)
    variables = model.trainable_variables
    values = [keras.ops.convert_to_numpy(variable).astype("float64") for variable in variables]
    first, second = ([np.zeros_like(value) for value in values] for _ in range(2))
    excluded = {id(variable) for variable in model.no_weight_decay()}
    for step in (1, 2):
        # away from zero, where Keras' epsilon (inside of the bias correction, "epsilon hat" in the paper) is felt
        rng = np.random.default_rng(step)
        gradients = [rng.uniform(0.1, 1, value.shape) * rng.choice([-1, 1], value.shape) for value in values]
        optimizer.apply_gradients(
            [(tf.constant(g, tf.float32), variable) for g, variable in zip(gradients, variables, strict=True)]
        )
        for i, gradient in enumerate(gradients):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.95 * second[i] + 0.05 * gradient**2
            decay = 0 if id(variables[i]) in excluded else DECAY
            corrected = first[i] / (1 - 0.9**step), second[i] / (1 - 0.95**step)
            values[i] -= RATE * (corrected[0] / (np.sqrt(corrected[1]) + 1e-8) + decay * values[i])
    for variable, expected in zip(variables, values, strict=True):
        # float32 moments: some 1e-6 of a step of 0.1, of values of about 1
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("wrong", [{"learning_rate": float("nan")}, {"learning_rate": -1}, {"weight_decay": -0.1}])
def test_numbers_out_of_range(wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} is at least 0, got "):
        adamw(small_encoder(), **{"learning_rate": 1e-3, **wrong})


def test_settings():
    optimizer = adamw(small_encoder(), 1e-3, 0.05, beta_2=0.999)
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.weight_decay, optimizer.epsilon) == (0.9, 0.999, 0.05, 1e-8)
    assert adamw(small_encoder(), 1e-3).beta_2 == 0.95


@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_pass_over_the_weights_gives_what_keras_gives(jit_compile):
    """Five steps, and both moments, in graphs, against the operations of Keras' Adam."""
    results = []
    for one_pass in (True, False):
        variable = keras.Variable(np.linspace(-1, 1, 7), dtype="float32")
        optimizer = AdamW(RATE, DECAY, beta_2=0.95)
        optimizer.build([variable])
        if not one_pass:
            optimizer.adam_in_one_pass = lambda gradient, variable, rate, index, optimizer=optimizer: (
                keras.optimizers.Adam.update_step(optimizer, gradient, variable, rate)
            )
        apply = tf.function(lambda gradient, optimizer=optimizer: optimizer.apply([gradient]), jit_compile=jit_compile)
        for step in range(5):
            apply(tf.constant(np.random.default_rng(step).normal(size=7), tf.float32))
        results.append([keras.ops.convert_to_numpy(each) for each in (variable, *optimizer.variables[2:])])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)  # another order of a few roundings
