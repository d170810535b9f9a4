"""A step of a run again: a planted image that overflows float16, and one whose gradient is a spike."""

import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mae import cli
from keras_mae.example_seed import ExampleSeed
from keras_mae.trainers import run
from keras_mae.trainers.checkpoints import KEPT, Checkpoints, checkpoints_in, newest_before
from keras_mae.trainers.not_finite import where_not_finite
from keras_mae.trainers.pretrain import pretrain
from keras_mae.trainers.replay import agreement, recorded, replay
from keras_mae.trainers.settings import changed
from keras_mae.training.step_record import Step
from tests.base import small_mae, weights_of
from tests.trainers.pretraining import CONFIG

BAD = 13  # the number of the planted image
PLAIN = ["channels=1", "mean=(0.5,)", "normalize_target=False", "crop_scale=None", "flip=False"]


def planted(folder, bad, count):
    """Gray images of 16 bits, within 90 levels of the middle, and a bad one."""
    rng = np.random.default_rng(0)
    images = rng.integers(32768 - 90, 32768 + 90, (count, 16, 16, 1))
    images[BAD] = bad(rng)
    np.savez(folder / "planted.npz", images=images.astype("uint16"))
    return f"npz:{folder / 'planted.npz'}"


def began(folder, data, *settings):
    """A finished run: its folder, and the lines of its steps."""
    output = str(folder / "run")
    model = pretrain(changed(CONFIG, [*PLAIN, *settings]), data, output)
    with open(os.path.join(output, run.STEPS), encoding="utf-8") as file:
        return output, [json.loads(line) for line in file], model


@pytest.fixture(scope="module")
def overflowed(tmp_path_factory):
    """White is 71,429 standard deviations from the mean, and float16 ends at 65,504."""
    folder = tmp_path_factory.mktemp("overflowed")
    data = planted(folder, lambda rng: 65535, 24)
    return began(folder, data, "dtype_policy=mixed_float16", "std=(7e-6,)", "epochs=4")


@pytest.fixture(scope="module")
def spiked(tmp_path_factory):
    """The bad image has 30 times the contrast of the others."""
    folder = tmp_path_factory.mktemp("spiked")
    data = planted(folder, lambda rng: rng.integers(32768 - 3000, 32768 + 3000, (16, 16, 1)), 96)
    return began(folder, data, "std=(1e-3,)", "batch_size=4", "epochs=2", "spike_factor=3.0")


def contents(folder):
    """Every file of a run but those of `replay`, with its bytes."""
    paths = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
    return {path: open(path, "rb").read() for path in paths if run.REPLAY not in path.split(os.sep)}


@pytest.mark.medium
def test_a_bad_image_is_found_with_the_layer_that_it_breaks(overflowed, capsys, monkeypatch, tmp_path):
    output, steps, _ = overflowed
    bad = [line["step"] for line in steps if line["loss"] is None]
    assert len(bad) == 4 and all(steps[number - 1]["skipped"] == "not finite" for number in bad)  # once an epoch
    before = contents(output)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["replay", f"--run={output}", f"--step={bad[-1]}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"step {bad[-1]}: loss nan, gradient norm nan; skipped (not finite)",
        "as in steps.jsonl",
        "loss or gradient of 1 of 8 images is not finite",
    ]
    assert lines[3] == (
        "the first layer with numbers that are not finite is vit_encoder/patch_projection (Dense): its input is not, "
        "as the layer before it, vit_encoder/normalize_pixels, gives magnitudes up to 71428.6, and float16 ends at "
        "65504"
    )
    assert lines[6].split() == [str(BAD), "nan", "nan", f"images[{BAD}]"] and len(lines) == 6 + 8 + 1
    picture = os.path.join(output, "replay", f"step_{bad[-1]:06d}.png")
    assert lines[-1] == f"wrote {picture}"
    with Image.open(picture) as image:
        assert image.size == (4 * (3 * 112 + 28) - 4, 26 + 2 * (112 + 8 + 17) + 4 + 2 * 17 + 4)
    assert contents(output) == before


@pytest.mark.medium
def test_a_spike_is_skipped_named_and_replayed(spiked, caplog):
    """From the checkpoint of the epoch before, and from the first weights, to the bit."""
    output, steps, _ = spiked
    number = next(line["step"] for line in steps if line.get("skipped") == "spike")
    assert number > 24 and [line["step"] for line in steps if "skipped" in line] == [number]
    caplog.set_level("INFO", logger="keras_mae")
    found = replay(output, number)
    assert found.agreement == "as in steps.jsonl" and found.step.skipped == "spike" and found.place == ""
    assert found.images[0].index == BAD and found.images[0].norm > 5 * found.images[1].norm
    # the images' parts of the loss and of the batch's gradient
    assert np.mean([image.loss for image in found.images]) == pytest.approx(found.step.loss, rel=1e-5)
    kept = os.path.join(output, run.CHECKPOINTS, KEPT)
    assert checkpoints_in(kept) == [24]
    assert f"the nearest checkpoint before it is that of step 24: {number - 24} steps to compute" in caplog.text
    early = replay(output, 3)
    assert early.agreement == "as in steps.jsonl" and early.step.skipped is None
    assert "from the run's first weights: 3 steps to compute" in caplog.text


@pytest.mark.medium
def test_runs_and_steps_that_are_none(spiked, tmp_path, capsys):
    output, _, _ = spiked
    with pytest.raises(ValueError, match="the steps of this run are 1 to 48, got 49"):
        replay(output, 49)
    assert cli.main(["replay", f"--run={tmp_path}", "--step=1"]) == 2
    assert "is not the folder of a run: it holds no config.json" in capsys.readouterr().err
    assert cli.main(["replay", f"--run={output}", "--step=0"]) == 2
    assert cli.main(["replay", f"--run={output}", "--step=1", "--output=picture"]) == 2
    assert "type --output=picture.png" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.medium
def test_first_weights_by_a_relative_path_and_a_picture_that_cannot_be_written(spiked, tmp_path, monkeypatch):
    _, _, model = spiked
    monkeypatch.chdir(tmp_path)
    model.save("first.keras")
    data = planted(tmp_path, lambda rng: 0, 16)
    config = changed(CONFIG, [*PLAIN, "std=(1e-3,)", "epochs=1", "warmup_epochs=0", "init=first.keras"])
    pretrain(config, data, "run")
    monkeypatch.chdir("/")
    assert replay(str(tmp_path / "run"), 2).agreement == "as in steps.jsonl"  # from the first weights
    os.rename(tmp_path / "first.keras", tmp_path / "elsewhere.keras")
    checkpoints = tmp_path / "run" / run.CHECKPOINTS
    assert newest_before(str(checkpoints), 2) is None
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="the picture cannot be written .* name another file with --output"):
        replay(str(tmp_path / "run"), 1, str(tmp_path / "file" / "x.png"))


@pytest.mark.medium
def test_a_checkpoint_of_an_earlier_version_is_restored(spiked, tmp_path):
    """It has no record of the last steps."""
    _, _, model = spiked
    from keras_mae.trainers.checkpoints import restore_state, state_of

    old = state_of(model, with_record=False).save(str(tmp_path / "ckpt"))
    before = weights_of(model)
    model.step_record.variable.assign(tf.ones_like(model.step_record.variable))
    for weight in model.weights:
        weight.assign(tf.zeros_like(weight))
    restore_state(model, old)
    assert all((a == b).all() for a, b in zip(weights_of(model), before, strict=True))
    new = state_of(model).save(str(tmp_path / "new"))
    model.step_record.variable.assign(tf.zeros_like(model.step_record.variable))
    restore_state(model, new)
    assert (model.step_record.variable.numpy() == 1).all()


def test_three_checkpoints_are_kept(tmp_path):
    mae = small_mae()
    mae.compile(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)))
    path = str(tmp_path / "checkpoints")
    saver = Checkpoints(path, mae, steps_per_epoch=1)
    saver.keep_before(1)
    assert newest_before(path, 5) is None
    for step in range(1, 6):
        mae.optimizer.iterations.assign(step)
        saver.on_train_batch_end(0)
        saver.on_epoch_end(0)
        saver.keep_before(step + 1)
        saver.keep_before(step + 1)
    assert sorted(checkpoints_in(path)) == [4, 5] and sorted(checkpoints_in(os.path.join(path, KEPT))) == [3, 4, 5]
    assert sorted(os.listdir(os.path.join(path, KEPT))) == sorted(
        f"ckpt-{step}.{end}" for step in (3, 4, 5) for end in ("index", "data-00000-of-00001")
    )
    assert newest_before(path, 4) == os.path.join(path, KEPT, "ckpt-3") and newest_before(path, 3) is None
    again = Checkpoints(path, mae, steps_per_epoch=1)  # removes leftovers, and no kept ones
    assert again.restore() == 5 and len(checkpoints_in(os.path.join(path, KEPT))) == 3


def test_where_numbers_stop_being_finite():
    """In a layer, between two of them, in the images, in a gradient alone; and nowhere."""
    mae = small_mae(num_layers=2, image_shape=(8, 12, 3))
    mae.compile(optimizer=keras.optimizers.SGD(0.1))
    images, seed = tf.random.stateless_uniform((2, 8, 12, 3), (1, 2), 0, 255), ExampleSeed.of(0, 0)
    before = weights_of(mae)

    def place(scale=1.0, given=images):
        return where_not_finite(mae, given, seed, scale)

    assert place() == ""
    assert place(given=images * float("inf")) == "the images themselves hold values that are not finite"
    kernel = mae.encoder.blocks[1].mlp_hidden.kernel
    kernel.assign(kernel * float("nan"))
    said = place()
    layer = kernel.path.rpartition("/")[0]
    assert said.startswith(f"the first layer whose output is not finite is {layer} (Dense): the largest magnitude")
    for weight, value in zip(mae.weights, before, strict=True):
        weight.assign(value)
    original = mae.batch_loss

    @tf.custom_gradient
    def poisoned(x):
        return x, lambda upstream: upstream * float("inf")

    mae.batch_loss = lambda *arguments, **keywords: poisoned(original(*arguments, **keywords))
    said = place(8.0)
    last = mae.decoder.weights[-1].path.rpartition("/")[0]
    assert f"in the order of the backward pass, {last}/" in said and "the loss is scaled by 8" in said
    mae.batch_loss = lambda *arguments, **keywords: original(*arguments, **keywords) * float("nan")
    assert place() == "the outputs of all layers are finite, and the loss is not"
    del mae.batch_loss
    assert place() == "" and all((a == b).all() for a, b in zip(weights_of(mae), before, strict=True))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "steps.jsonl does not have this step"),
        ({"step": 7, "loss": 0.5, "gradient_norm": 1.25}, "as in steps.jsonl"),
        ({"step": 7, "loss": 0.5001, "gradient_norm": 1.25}, "equal up to round-off"),
        ({"step": 7, "loss": 0.6, "gradient_norm": 1.25}, "this is another step, of other data, another machine"),
        ({"step": 7, "loss": None, "gradient_norm": None, "skipped": "not finite"}, "this is another step"),
    ],
)
def test_agreement_with_the_record(record, said, tmp_path):
    path = tmp_path / "steps.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in ({"step": 6}, record) if line) + '{"step": 7, "lo')
    assert recorded(str(path), 7) == record
    assert said in agreement(Step(7, 0.5, 1.25, None, None, None), record)
