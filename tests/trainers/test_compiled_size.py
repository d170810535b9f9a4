"""The memory of a compiled step: by hand, and against XLA's own figures for the published sizes."""

import pytest

from benchmarks.accelerator.steps import COMPILED_STEPS
from benchmarks.accelerator.table import estimate, stored
from keras_mae.trainers import compiled_size, memory, recipes
from keras_mae.trainers.compiled_size import GPU, TPU
from keras_mae.trainers.free_memory import Memory
from keras_mae.trainers.settings import changed
from keras_mae.trainers.step_size import Blocks, CrossBlocks
from tests.drawn import TINY

CONFIG = changed(recipes.load("mae_small_images"), list(TINY))
MIB = 2**20
PUBLISHED = [
    (one["step"], one["topology"], one["total_mib"]) for one in stored() if estimate(COMPILED_STEPS[one["step"]])
]


def test_a_block_by_hand():
    block = Blocks(layers=3, dim=16, mlp_dim=64, heads=2, tokens=5)
    assert compiled_size.kept(block, GPU) == 5 * (9 * 16 + 64) + 2 * 5 * 5
    assert compiled_size.kept(block, TPU) == 8 * (9 * 16 + 64) + 2 * 8 * 128  # whole tiles of 8 x 128
    # the MLP's gradient has more numbers at once than attention's
    assert compiled_size.passing(block, GPU) == 5 * 16 + 2 * 5 * 64
    many = block._replace(tokens=200)
    assert compiled_size.passing(many, GPU) == 200 * 16 + 3 * 200 * 16 + 2 * 200 * 200


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"gated": True}, 5 * 2 * 64),
        ({"has_rotation": True}, 5 * 2 * 16),
        ({"has_qk_norm": True}, 5 * 4 * 16),
        ({"has_gains": True}, 5 * 2 * 16),
    ],
)
def test_other_kinds_of_blocks_keep_more(changes, more):
    block = Blocks(layers=3, dim=16, mlp_dim=64, heads=2, tokens=5)
    assert compiled_size.kept(block._replace(**changes), GPU) - compiled_size.kept(block, GPU) == more


def test_a_block_of_cross_attention_by_hand():
    block = CrossBlocks(layers=2, dim=8, mlp_dim=32, heads=2, tokens=12, memory=5, memory_dim=16)
    assert compiled_size.kept(block, GPU) == 12 * (7 * 8 + 32) + 2 * 12 * 5 + 5 * 2 * 8


@pytest.mark.parametrize("dtype_policy", ["float32", "mixed_bfloat16"])
def test_an_image_more_is_what_blocks_keep(dtype_policy):
    there = changed(CONFIG, [f"dtype_policy={dtype_policy}"])
    # 4 visible of 16 patches and the class token, 16 wide with 2 heads; all of them, 8 wide with 2 heads
    encoder, decoder = 5 * (9 * 16 + 64) + 2 * 5 * 5, 17 * (9 * 8 + 32) + 2 * 17 * 17
    gradient_of_block = 17 * 8 + 2 * 17 * 32
    each = {"float32": 4, "mixed_bfloat16": 2}[dtype_policy]
    predicted = 12 * 4 * 4 * 3
    found = compiled_size.memory(there, 1001, GPU) - compiled_size.memory(there, 1000, GPU)
    assert found == each * (encoder + decoder + gradient_of_block) + 8 * predicted


def test_gradients_and_activations_share_memory():
    model = compiled_size.count(CONFIG)
    always = 4 * model.weights + 8 * model.trainable
    assert compiled_size.memory(CONFIG, 0, GPU) == always + 4 * model.trainable
    of_image = compiled_size.memory(CONFIG, 1001, GPU) - compiled_size.memory(CONFIG, 1000, GPU)
    assert compiled_size.memory(CONFIG, 1000, GPU) == always + 1000 * of_image
    # of several parts, the sum of the gradients and those of a part are there together, beside the activations
    parts = changed(CONFIG, ["accumulation_steps=2"])
    assert compiled_size.memory(parts, 1000, GPU) == always + 8 * model.trainable + 1000 * of_image


def test_a_rematerialised_step_keeps_inputs_and_one_block():
    there = changed(CONFIG, ["rematerialize=True", "encoder.num_layers=3"])
    inputs = 3 * 5 * 16 + 17 * 8
    largest = 17 * (9 * 8 + 32) + 2 * 17 * 17 + 17 * 8 + 2 * 17 * 32  # the decoder's
    of_image = compiled_size.memory(there, 1001, GPU) - compiled_size.memory(there, 1000, GPU)
    assert of_image == 4 * (inputs + largest) + 8 * 12 * 4 * 4 * 3


@pytest.mark.parametrize(("name", "topology", "mebibytes"), PUBLISHED)
def test_is_within_15_percent_of_the_tpu_compiler(name, topology, mebibytes):
    assert estimate(COMPILED_STEPS[name]) == pytest.approx(mebibytes * MIB, rel=0.15)


def test_every_kind_of_step_was_compiled():
    steps = [COMPILED_STEPS[name] for name, *_ in PUBLISHED]
    assert {step.method for step in steps} == {"mae", "simmim"} and {step.dtype for step in steps} >= {"float32"}
    assert any(step.rematerialize for step in steps) and any(step.accumulation_steps > 1 for step in steps)


@pytest.mark.parametrize(
    ("recipe", "batch_size", "gigabytes"), [("mae_vit_base", 256, 13.6), ("mae_vit_large", 128, 13.4)]
)
def test_is_within_15_percent_of_the_gpu_compiler(recipe, batch_size, gigabytes):
    """The README's figures of an H200: bfloat16, 224 px."""
    config = changed(recipes.load(recipe), ["dtype_policy=mixed_bfloat16", f"batch_size={batch_size}"])
    assert memory.estimate(config, 1, GPU) == pytest.approx(1e9 * gigabytes, rel=0.15)


def test_what_an_accelerator_takes_is_not_refused():
    """A graph's count would have a step of 256 images need 24 GB."""
    config = changed(recipes.load("mae_vit_base"), ["dtype_policy=mixed_bfloat16", "batch_size=256"])
    memory.check_fits(config, Memory(16 * 2**30, "the GPU", of_processor=False))
    with pytest.raises(ValueError, match="a step needs about 13.5 GB of memory, and the GPU has 12.0 GB"):
        memory.check_fits(config, Memory(12 * 10**9, "the GPU", of_processor=False))
