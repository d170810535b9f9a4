"""The memory estimate by hand, and blocks that compute their activations a second time."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.trainers import memory, recipes
from keras_mae.trainers.config import changed
from keras_mae.trainers.pretrain import build
from tests.base import random_images
from tests.drawn import TINY

CONFIG = changed(recipes.load("mae_small_images"), list(TINY))


def test_estimate_is_weights_slots_and_activations():
    mae = build(CONFIG)
    trainable = sum(np.size(variable) for variable in mae.trainable_variables)
    fixed = sum(np.size(weight) for weight in mae.non_trainable_weights)
    # 4 visible of 16 patches and the class token, 16 wide with 2 heads; all of them, 8 wide with 2 heads
    encoder = 5 * (16 * 16 + 3 * 64 + 2 * 2 * 5)
    decoder = 17 * (16 * 8 + 3 * 32 + 2 * 2 * 17)
    assert memory.estimate(mae, CONFIG) == 4 * fixed + 16 * trainable + 4 * 8 * (encoder + decoder)
    half = 4 * fixed + 16 * trainable + 4 * 4 * (encoder + decoder)
    for settings, replicas in ((["accumulation_steps=2"], 1), ([], 2), (["dtype_policy=mixed_bfloat16"], 1)):
        assert memory.estimate(mae, changed(CONFIG, settings), replicas) == half


@pytest.mark.parametrize(("count", "text"), [(12_345_678_901, "12.3 GB"), (45_678_901, "46 MB"), (3, "1 MB")])
def test_as_text(count, text):
    assert memory.as_text(count) == text


@pytest.mark.medium
def test_rematerialised_blocks_give_the_same_gradients():
    images, gradients = random_images(4, CONFIG.image_shape), []
    for rematerialize in (False, True):
        mae = build(changed(CONFIG, [f"rematerialize={rematerialize}", "num_layers=2"]))

        @tf.function
        def step(mae=mae):
            with tf.GradientTape() as tape:
                loss = mae.batch_loss(images, ExampleSeed.of(0, 0), training=True)
            return loss, tape.gradient(loss, mae.trainable_variables)

        gradients.append(step())
    (loss, kept), (again_loss, again) = gradients
    np.testing.assert_array_equal(loss, again_loss)
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)  # sums in another order, of values below 1
