"""The memory estimate by hand, and blocks that compute their activations a second time."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.trainers import free_memory, memory, recipes
from keras_mae.trainers.free_memory import Memory
from keras_mae.trainers.pretrain import build
from keras_mae.trainers.settings import changed, replaced
from tests.base import random_images
from tests.drawn import TINY
from tests.trainers.test_model_parts import OTHER_KIND
from tests.typed import refused

CONFIG = changed(recipes.load("mae_small_images"), list(TINY))


def test_estimate_is_weights_slots_and_activations():
    mae = build(CONFIG)
    trainable = sum(np.size(variable) for variable in mae.trainable_variables)
    fixed = sum(np.size(weight) for weight in mae.non_trainable_weights)
    # 4 visible of 16 patches and the class token, 16 wide with 2 heads; all of them, 8 wide with 2 heads
    encoder = 5 * (16 * 16 + 3 * 64 + 2 * 2 * 5)
    decoder = 17 * (16 * 8 + 3 * 32 + 2 * 2 * 17)
    for settings, replicas, share in (
        ([], 1, 4 * 8),
        (["accumulation_steps=2"], 1, 4 * 4),
        ([], 2, 4 * 4),
        (["dtype_policy=mixed_bfloat16"], 1, 2 * 8),
    ):
        expected = 4 * fixed + 16 * trainable + share * (encoder + decoder)
        # a few biases are not counted one by one
        assert memory.estimate(changed(CONFIG, settings), replicas) == pytest.approx(expected, rel=0.01)


def test_weights_of_other_kinds_are_counted():
    for settings in (OTHER_KIND, ["num_cls_tokens=0", "num_registers=4"]):
        there = changed(CONFIG, [*settings, "encoder.num_layers=3"])
        mae = build(there)
        weights = sum(np.size(weight) for weight in mae.weights)
        trainable = sum(np.size(variable) for variable in mae.trainable_variables)
        # without activations, as those of one image differ by one image's from those of two
        one, two = (memory.estimate(changed(there, [f"batch_size={size}"])) for size in (1, 2))
        # gains of norms and of LayerScale are not counted one by one, and are many in blocks 16 wide
        assert 2 * one - two == pytest.approx(4 * weights + 12 * trainable, rel=0.04)


def test_a_gated_block_with_rotations_and_norms_by_hand():
    there = [changed(CONFIG, [f"batch_size={size}", *OTHER_KIND]) for size in (1, 2)]
    # 4 visible patches and 5 other tokens, 16 wide with 2 heads; in the decoder 21, 8 wide
    numbers = 9 * (22 * 16 + 6 * 20 + 2 * 2 * 9) + 21 * (16 * 8 + 3 * 32 + 2 * 2 * 21)
    assert memory.estimate(there[1]) - memory.estimate(there[0]) == 4 * numbers


CROSS = ["decoder=cross", "decoder.hidden_dim=8", "decoder.num_layers=2", "decoder.num_heads=2"]


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        # 4 of 16 patches are visible, beside the class token. Of 12 masked ones 6 or all are predicted: queries 8 wide
        # with 2 heads, that attend to 5 tokens 16 wide
        ([*CROSS, "predict_ratio=0.5"], 2 * (6 * (12 * 8 + 3 * 32 + 2 * 2 * 5) + 5 * 4 * 8)),
        # the one layer of the encoder, its sums for two blocks, and these normalised
        ([*CROSS, "encoder_layers=(1,)"], 2 * (12 * (12 * 8 + 3 * 32 + 2 * 2 * 5) + 5 * 4 * 8) + 5 * 5 * 16),
        ([*CROSS, "visible_weight=0.1"], 2 * (16 * (12 * 8 + 3 * 32 + 2 * 2 * 5) + 5 * 4 * 8)),
        # the plain decoder sees the class token, 4 visible patches, and 3 others
        (["predict_ratio=0.25"], 8 * (16 * 8 + 3 * 32 + 2 * 2 * 8)),
        (["visible_weight=0.1"], 17 * (16 * 8 + 3 * 32 + 2 * 2 * 17)),
    ],
    ids=str,
)
def test_a_cross_decoder_and_predictions_in_part_by_hand(settings, numbers):
    there = [changed(CONFIG, [f"batch_size={size}", *settings]) for size in (1, 2)]
    mae = build(there[0])
    trainable = sum(np.size(variable) for variable in mae.trainable_variables)
    weights = sum(np.size(weight) for weight in mae.weights)
    one, two = (memory.estimate(config) for config in there)
    assert two - one == 4 * (5 * (16 * 16 + 3 * 64 + 2 * 2 * 5) + numbers)
    # a few biases are not counted one by one
    assert 2 * one - two == pytest.approx(4 * weights + 12 * trainable, rel=0.01)


def test_a_rematerialised_cross_decoder_keeps_its_queries_and_one_block():
    settings = [*CROSS, "encoder_layers=(1,)", "rematerialize=True"]
    one, two = (memory.estimate(changed(CONFIG, [f"batch_size={size}", *settings])) for size in (1, 2))
    block = 12 * (12 * 8 + 3 * 32 + 2 * 2 * 5) + 5 * 4 * 8
    encoder = 5 * 16 + 5 * (16 * 16 + 3 * 64 + 2 * 2 * 5)
    assert two - one == 4 * (encoder + 2 * 12 * 8 + block + 5 * 5 * 16)


@pytest.mark.parametrize(
    ("recipe", "settings", "gigabytes"),
    [
        # by hand: 112 million weights x 16 bytes; of 256 images, 12 blocks of 50 tokens and 8 of 197, in float32
        ("mae_vit_base", ["batch_size=256"], 1.8 + 256 * 4e-9 * (12 * 50 * 22704 + 8 * 197 * 20640)),
        ("mae_vit_base", ["batch_size=256", "accumulation_steps=8"], 1.8 + 32 * 4e-9 * 46.15e6),
        # all 197 tokens
        ("finetune_vit_base", ["batch_size=64", "preset=vit_base_patch16"], 1.4 + 64 * 4e-9 * 12 * 197 * 26232),
        # the last four blocks of 24; the weights of the others have no gradient
        (
            "finetune_last_blocks_vit_large",
            ["batch_size=64", "num_trainable_layers=4", "preset=vit_large_patch16"],
            4e-9 * 303e6 + 12e-9 * 4 * 12.6e6 + 64 * 4e-9 * 4 * 197 * 34976,
        ),
        # nothing is trained, and nothing kept: the attention of one block
        ("probe_vit_base", ["batch_size=64", "preset=vit_base_patch16"], 0.34 + 64 * 4e-9 * 197 * 9336),
    ],
)
def test_estimates_of_published_sizes(recipe, settings, gigabytes):
    assert memory.estimate(changed(recipes.load(recipe), settings)) == pytest.approx(1e9 * gigabytes, rel=0.02)


def test_tokens_of_a_batch_are_counted():
    """An attentive probe of fixed images holds the patch tokens of a batch, where a linear one holds vectors."""
    fixed = {"crop_scale": None, "flip": False}
    linear, attentive = (
        replaced(recipes.load("probe_vit_base"), **fixed, pooling=pooling) for pooling in ("cls", "attentive")
    )
    assert memory.estimate(attentive) >= 2 * 4 * attentive.optimizer.batch_size * 196 * 768
    small = [replaced(config, batch_size=64) for config in (linear, attentive)]
    assert memory.estimate(small[0]) == memory.estimate(small[1])


def test_sizes_of_a_classifier_are_those_of_its_file(tmp_path):
    build(CONFIG).encoder.save(tmp_path / "encoder.keras")
    config = changed(recipes.load("finetune_small_images"), ["image_size=(16,16)", "batch_size=8"])
    there = replaced(config, run=str(tmp_path / "encoder.keras"))
    shown = [
        "preset=vit_tiny_patch16",
        "encoder.hidden_dim=16",
        "encoder.num_layers=1",
        "encoder.num_heads=2",
        "patch_size=(4,4)",
    ]
    expected = memory.estimate(changed(replaced(config, run=None), shown))
    assert memory.estimate(there) == pytest.approx(expected, rel=0.01) and expected > 80_000


README = changed(recipes.load("mae_vit_base"), ["batch_size=256"])


@pytest.mark.parametrize(
    ("config", "free", "replicas", "message"),
    [
        (README, 24e9, 1, "--set accumulation_steps=2 needs about 14.0 GB"),
        (README, 8e9, 1, "--set accumulation_steps=8 needs about 5.2 GB"),
        (README, 4.2e9, 1, "--set accumulation_steps=16 needs about 3.7 GB"),
        (README, 1.5e9, 1, "its weights alone need most of that"),
        (README, 6e9, 4, "--set accumulation_steps=2 needs about 5.2 GB"),  # of a batch of 64 for each
        # 250 in 5 parts are 50, in 10 are 25: no other number between these divides it
        (changed(README, ["batch_size=250"]), 6e9, 1, "--set accumulation_steps=10 needs about 4.5 GB"),
        # one image at a time is too much: blocks that keep their input alone
        (
            changed(README, ["batch_size=1", "image_size=(896,896)"]),
            4e9,
            1,
            "--set rematerialize=True needs about 2.8 GB",
        ),
        # no parts in a probe
        (
            changed(recipes.load("probe_vit_base"), ["preset=vit_base_patch16"]),
            24e9,
            1,
            "--set batch_size=2048 needs about 15.4 GB",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(config, free, replicas, message):
    with pytest.raises(ValueError) as raised:
        memory.check_fits(config, Memory(int(free), "the GPU", of_processor=False), replicas)
    text = str(raised.value)
    assert message in text and text.startswith("a step needs about ") and text.endswith("--set check_memory=False")
    assert f"the GPU has {free / 1e9:.1f} GB: " in text
    if "--set" in message:
        settings = [word for word in message.split() if "=" in word]
        memory.check_fits(changed(config, settings), Memory(int(free), "the GPU", of_processor=False), replicas)


def test_what_may_fit_on_a_processor_is_a_warning(caplog):
    memory.check_fits(README, Memory(int(40e9), "this machine"))
    assert "a step may need about 49.0 GB of memory, and this machine has 40.0 GB free: --set acc" in caplog.text
    with pytest.raises(ValueError, match=r"about 49.0 GB of memory, and this machine has 20.0 GB free: --set acc"):
        memory.check_fits(README, Memory(int(20e9), "this machine"))
    with pytest.raises(ValueError, match=r"about 98.\d GB of memory"):  # two replicas that share it, of twice the batch
        memory.check_fits(changed(README, ["batch_size=512"]), Memory(int(40e9), "this machine"), replicas=2, here=2)


def test_a_run_whose_attention_is_computed_again_is_not_refused(caplog):
    """Of narrow blocks with many tokens, a step took 0.48 of the estimate: `test_processes` measures it."""
    narrow = ["image_size=(64,64)", "encoder.num_layers=12", "encoder.num_heads=4", "mask_ratio=0.01"]
    config = changed(CONFIG, [*narrow, "encoder.hidden_dim=64", "batch_size=32"])
    needed = memory.estimate(config)
    memory.check_fits(config, Memory(int(0.5 * needed), "this machine"))
    assert "a step may need about" in caplog.text
    with pytest.raises(ValueError, match="a step needs about"):
        memory.check_fits(config, Memory(int(0.2 * needed), "this machine"))


@pytest.mark.parametrize("program", ["pretrain", "finetune"])
def test_is_said_before_data_are_opened(capfd, monkeypatch, tmp_path, program):
    monkeypatch.setattr(memory, "find_memory", lambda: Memory(int(8e9), "this machine"))
    command = [program, "--data=folder:/nowhere", f"--output={tmp_path}/run", "--set=preset=vit_base_patch16"]
    command += ["--recipe=mae_vit_base"] if program == "pretrain" else []  # auto looks at the images first
    line = refused(capfd, *command)
    assert "of memory, and this machine has 8.0 GB free: --set accumulation_steps=" in line
    assert not (tmp_path / "run").exists()
    assert "folder:/nowhere: there is no such folder" in refused(capfd, *command, "--set=check_memory=False")


def files_in(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n"}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, None),
        (  # the group above has less; what its files take in memory can be had
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "8000\n",
                "sys/fs/cgroup/a/memory.current": "5000\n",
                "sys/fs/cgroup/a/memory.stat": "anon 3000\ninactive_file 1500\n",
                "sys/fs/cgroup/a/b/memory.max": "20000\n",
                "sys/fs/cgroup/a/b/memory.current": "5000\n",
            },
            4500,
        ),
        (  # version 1, in a container that sees its own group as the root
            {
                "proc/self/cgroup": "9:cpu,cpuacct:/x\n5:memory:/docker/x\n0::/x\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9000\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n",
                "sys/fs/cgroup/memory/memory.stat": "cache 7\ntotal_inactive_file 100\n",
            },
            5100,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",  # no limit
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n",
            },
            None,
        ),
    ],
)
def test_control_groups(tmp_path, files, free):
    found = free_memory.free_of_group(files_in(tmp_path, files))
    assert (found and found.free) == free


def test_of_a_machine(tmp_path):
    text = "MemTotal:       24000 kB\nMemFree:   10 kB\nMemAvailable:    2000 kB\n"
    assert free_memory.free_of_machine(files_in(tmp_path, {"proc/meminfo": text})).free == 2_048_000
    assert free_memory.free_of_machine(str(tmp_path / "nowhere")) is None


@pytest.mark.parametrize(("count", "text"), [(12_345_678_901, "12.3 GB"), (45_678_901, "46 MB"), (3, "1 MB")])
def test_as_text(count, text):
    assert memory.as_text(count) == text


@pytest.mark.medium
def test_rematerialised_blocks_give_the_same_gradients():
    images, gradients = random_images(4, CONFIG.encoder.image_shape), []
    for rematerialize in (False, True):
        mae = build(changed(CONFIG, [f"rematerialize={rematerialize}", "encoder.num_layers=2"]))

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
