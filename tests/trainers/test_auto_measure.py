"""Facts of images that are known, from files and from arrays, and one real run with nothing chosen by hand."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image

from keras_mae import cli
from keras_mae.data import ArraySource, open_source
from keras_mae.models.saved_files import load_model_file
from keras_mae.trainers import auto_measure, run
from keras_mae.trainers.auto_choice import choose
from keras_mae.trainers.auto_measure import measure_facts
from keras_mae.trainers.auto_recipe import AutoRecipe
from keras_mae.trainers.pretrain import pretrain
from tests import two_formats
from tests.base import weights_of
from tests.drawn import drawn
from tests.trainers.pretraining import log_of, of
from tests.typed import refused

SMALL = {
    "patch_size": (7, 7), "encoder.hidden_dim": 16, "encoder.num_layers": 1, "encoder.num_heads": 2, "epochs": 2,
    "decoder.hidden_dim": 8, "decoder.num_layers": 1, "decoder.num_heads": 2, "batch_size": 8, "jit_compile": False,
}  # fmt: skip
TYPED = [f"--set={key}={str(value).replace(' ', '')}" for key, value in SMALL.items()]


@pytest.fixture(scope="module", autouse=True)
def _no_other_formats():
    """There are TIFF files here."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """The speed is of no interest here, and has no influence."""
    monkeypatch.setattr(auto_measure, "_products", lambda *_, **__: 1e11)
    monkeypatch.setattr(auto_measure, "_numbers", lambda *_, **__: 1e9)
    monkeypatch.setattr(auto_measure, "_SECONDS", 1000.0)  # all images, however busy the machine is


def facts_of(source):
    return measure_facts(source, tf.distribute.get_strategy())


def test_gray_files_of_several_sizes_then_damaged_ones(tmp_path, monkeypatch):
    two_formats.patched(monkeypatch)
    for number in range(20):  # one is smaller, which is less than a tenth
        height, width = (20, 24) if number == 3 else (60 + number, 90)
        Image.fromarray(drawn(height, width, 1, number)[..., 0]).convert("RGB").save(tmp_path / f"{number:02d}.png")
    facts = facts_of(open_source(f"folder:{tmp_path}"))
    assert (facts.num_images, facts.height, facts.width, facts.same_size) == (20, 60, 90, False)
    assert (facts.channels, facts.bits, len(facts.mean), facts.flat) == (1, 8, 1, 0.0)
    assert 0 < facts.reading < 5 and facts.memory > 1e8 and facts.taken > 1e8
    for path in tmp_path.iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"none of the images looked at can be decoded, such as .*\.png"):
        facts_of(open_source(f"folder:{tmp_path}"))


@pytest.mark.medium
def test_a_tiff_of_five_channels_and_sixteen_bits(tmp_path):
    for number in range(3):
        levels = drawn(24, 32, 5, number).astype("uint16") * 200
        tifffile.imwrite(tmp_path / f"{number}.tif", levels, photometric="minisblack", planarconfig="contig")
    facts = facts_of(open_source(f"folder:{tmp_path}"))
    assert (facts.channels, facts.bits, facts.height, facts.width, facts.same_size) == (5, 16, 24, 32, True)
    levels = np.stack([drawn(24, 32, 5, number) for number in range(3)]) * (200 / 65535)
    np.testing.assert_allclose(facts.mean, levels.mean((0, 1, 2)), atol=1e-5)
    assert choose(facts).config.encoder.channels == 5


def test_arrays_and_what_has_no_contrast():
    colour = np.stack([drawn(32, 32, 3, number) for number in range(10)])
    facts = facts_of(ArraySource(colour))
    assert (facts.channels, facts.mean, facts.reading, facts.flat) == (3, None, 0.0, 0.0)
    colour[:, :16] = 7  # half of each image
    assert facts_of(ArraySource(colour)).flat == 0.5
    gray = facts_of(ArraySource(np.repeat(colour[..., :1], 3, axis=-1)))
    assert gray.channels == 3  # an array is not decoded to another number


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=open_source("digits").images[:24])
    return f"npz:{path}"


@pytest.mark.medium
def test_a_run_as_a_user_types_it_and_its_resumption(digits, tmp_path, capfd, caplog):
    """Without a recipe: the run of the config that Python gives; then with another one, and with other settings."""
    output = tmp_path / "run"
    command = ["pretrain", f"--data={digits}", f"--output={output}"]
    assert cli.main([*command, *TYPED]) == 0
    other = pretrain(AutoRecipe(SMALL).choose(open_source(digits)).config, digits, str(tmp_path / "python"))
    chosen = load_model_file(str(output / run.MODEL))
    assert all((one == other).all() for one, other in zip(weights_of(chosen), weights_of(other), strict=True))
    records = [json.loads((folder / "config.json").read_text()) for folder in (output, tmp_path / "python")]
    assert records[0]["config"] == records[1]["config"]
    printed = caplog.text
    assert "--recipe=auto: 24 images of 28 x 28 pixels, 1 channel of 8 bits; processor" in printed
    assert "set by you" in printed and "whether mirrored images are still like yours is not known" in printed
    config = run.RunFolder(str(output)).config()[0]
    names = "channels image_size patch_size encoder.num_layers batch_size normalize_target flip hours"
    assert of(config, names) == (1, (28, 28), (7, 7), 1, 8, False, False, None)
    assert [record["epoch"] for record in log_of(output)] == [1, 2]
    assert "holds another run; continue it with --resume" in refused(capfd, *command, *TYPED)
    assert cli.main([*command, "--resume"]) == 0  # with the settings that are there, and not those of now
    assert cli.main([*command, "--resume", "--recipe=auto", "--set=pictures_every=7"]) == 0
    assert of(run.RunFolder(str(output)).config()[0], "pictures_every batch_size") == (7, 8)
    line = refused(capfd, *command, "--resume", "--set=batch_size=4")
    assert "has another config, and cannot be resumed: optimizer.batch_size: 8 there, 4 now" in line
    line = refused(capfd, *command, "--resume", "--recipe=mae_digits", "--set=batch_size=8")
    assert "has another config, and cannot be resumed" in line and "batch_size" not in line
    assert [record["epoch"] for record in log_of(output)] == [1, 2]


def test_what_is_typed_wrong_is_refused_before_images_are_seen(tmp_path, capfd):
    command = ["pretrain", "--data=npz:nowhere.npz", f"--output={tmp_path / 'run'}"]
    assert "image_size must be divisible by" in refused(capfd, *command, "--set=image_size=9,9", "--set=patch_size=4,4")
    assert "--recipe=auto is for keras-mae pretrain" in refused(
        capfd, "finetune", "--data=digits", "--run=x", "--recipe=auto", f"--output={tmp_path / 'run'}"
    )
    line = refused(capfd, *command, "--recipe=auto", "--init=mae_vit_base")
    assert "--init brings those of its model: leave out --recipe=auto" in line
