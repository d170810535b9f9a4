"""The memory estimate by hand, and blocks that compute their activations a second time."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.trainers import finetune, memory, recipes
from keras_mae.trainers.config import changed
from keras_mae.trainers.finetune_config import FinetuneConfig
from keras_mae.trainers.pretrain import build, pretrain
from tests.base import random_images
from tests.drawn import TINY, write

CONFIG = changed(recipes.load("mae_small_images"), list(TINY))


def test_estimate_is_weights_slots_and_activations():
    mae = build(CONFIG)
    trainable = sum(np.size(variable) for variable in mae.trainable_variables)
    fixed = sum(np.size(weight) for weight in mae.non_trainable_weights)
    # 4 visible of 16 patches and the class token, 16 wide with 2 heads; all of them, 8 wide with 2 heads
    encoder = 5 * (16 * 16 + 3 * 64 + 2 * 2 * 5)
    decoder = 17 * (16 * 8 + 3 * 32 + 2 * 2 * 17)
    assert memory.estimate(mae, CONFIG) == 4 * fixed + 16 * trainable + 4 * 8 * (encoder + decoder) * 2 // 3
    half = 4 * fixed + 16 * trainable + 4 * 4 * (encoder + decoder) * 2 // 3
    for settings, replicas in ((["accumulation_steps=2"], 1), ([], 2), (["dtype_policy=mixed_bfloat16"], 1)):
        assert memory.estimate(mae, changed(CONFIG, settings), replicas) == half


def test_a_step_that_does_not_fit_is_refused_with_what_fits():
    config = changed(CONFIG, ["batch_size=64"])
    mae = build(config)
    memory.check(mae, config, limit=memory.estimate(mae, config))
    parts = {part: memory.estimate(mae, changed(config, [f"accumulation_steps={part}"])) for part in (4, 8)}
    with pytest.raises(ValueError, match="a step needs about .* and there are") as caught:
        memory.check(mae, config, limit=(parts[4] + parts[8]) // 2)
    assert f"accumulation_steps=8 needs about {memory.as_text(parts[8])}: type --set accum" in str(caught.value)
    memory.check(mae, changed(config, ["accumulation_steps=8"]), limit=(parts[4] + parts[8]) // 2)  # as it said
    memory.check(mae, changed(config, ["check_memory=False"]), limit=1)
    with pytest.raises(ValueError, match="even one image at a time needs about .*: take a smaller model"):
        memory.check(mae, config, limit=1000)
    with pytest.raises(ValueError, match="hidden_dim=65536 and num_layers=12 need about 9895.6 GB"):
        memory.check_weights(65536, 12, limit=10**12)


@pytest.mark.medium
def test_readmes_first_command_is_refused_on_24_gb():
    config = changed(recipes.load("mae_vit_base"), ["batch_size=256"])
    with pytest.raises(ValueError, match=r"accumulation_steps=2 needs about 1\d.\d GB"):
        memory.check(build(config), config, limit=24 * 10**9)


def test_it_is_refused_before_data_are_opened(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "available", lambda: 2_000_000)
    with pytest.raises(ValueError, match="a step needs about .* accumulation_steps="):
        pretrain(changed(CONFIG, ["batch_size=1024"]), "folder:/nowhere/at/all", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_fine_tuning_too():
    settings = ["preset=vit_tiny_patch16", "image_size=(16,16)", "patch_size=(4,4)", "hidden_dim=16", "num_heads=2"]
    config = changed(FinetuneConfig(), [*settings, "num_layers=2", "batch_size=64"])
    classifier = finetune.build(config, 3)
    parts = {n: memory.estimate(classifier, changed(config, [f"accumulation_steps={n}"])) for n in (1, 2, 4)}
    # all 17 tokens pass 2 blocks
    numbers = 2 * 17 * (16 * 16 + 3 * 64 + 2 * 2 * 17)
    assert abs(parts[1] - parts[2] - 32 * numbers * 8 / 3) < 2  # rounded twice
    with pytest.raises(ValueError, match="accumulation_steps=4 needs about"):
        memory.check(classifier, config, limit=(parts[2] + parts[4]) // 2)


def test_rematerialising_is_the_remedy_where_parts_are_not_enough():
    config = changed(CONFIG, ["batch_size=1", "num_layers=12", "decoder_num_layers=8"])
    mae, again = build(config), changed(config, ["rematerialize=True"])
    assert memory.estimate(mae, again) < memory.estimate(mae, config)
    with pytest.raises(ValueError, match="type --set rematerialize=True, or --set check_memory=False"):
        memory.check(mae, config, limit=memory.estimate(mae, again))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 5000 kB\n"}, 5000 * 1024),
        (
            {
                "proc/meminfo": "MemAvailable: 5000 kB\n",
                "proc/self/cgroup": "0::/pod/box\n",
                "sys/fs/cgroup/pod/memory.max": "3000000\n",
                "sys/fs/cgroup/pod/memory.current": "1000000\n",
                "sys/fs/cgroup/pod/memory.stat": "anon 5\ninactive_file 400000\n",
                "sys/fs/cgroup/pod/box/memory.max": "max\n",
                "sys/fs/cgroup/pod/box/memory.current": "10\n",
            },
            2_400_000,
        ),
        (
            {
                "proc/meminfo": "MemAvailable: 5000 kB\n",
                "proc/self/cgroup": "5:cpu:/x\n4:memory:/box\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "7\n",
                "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "2000000\n",
                "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "500000\n",
            },
            1_500_000,
        ),
        ({}, None),
    ],
)
def test_what_there_is(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    for name, contents in files.items():
        write(tmp_path / name, contents.encode())
    assert memory.available(str(tmp_path)) == expected


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
