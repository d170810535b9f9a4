"""`keras-mae stats` and `keras-mae tfrecords`, and what `pretrain --stats` makes of the former."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.cli import main
from keras_mae.commands.pretraining import stats_settings
from keras_mae.data import open_source
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.settings import changed
from tests.drawn import drawn, write_pictures
from tests.typed import refused

pytestmark = pytest.mark.usefixtures("png_and_jpeg")


@pytest.mark.medium
def test_stats_are_printed_written_and_put_into_the_config(tmp_path, capsys):
    data, output = f"folder:{write_pictures(tmp_path / 'in', 5, channels=1)}", tmp_path / "stats.json"
    assert main(["stats", f"--data={data}", "--channels=1", f"--output={output}"]) == 0
    record = json.loads(output.read_text())
    pixels = np.stack([drawn(20, 24, 1, seed=n) for n in range(5)]) / 255
    np.testing.assert_allclose([record["mean"], record["std"]], [[pixels.mean()], [pixels.std()]], atol=1e-5)
    assert f"5 images, uint8: --set 'mean=({record['mean'][0]},)' --set 'std=(" in capsys.readouterr().out
    config = changed(PretrainConfig(), stats_settings(str(output)))
    assert (config.encoder.mean, config.encoder.std) == (tuple(record["mean"]), tuple(record["std"]))
    assert config.encoder.channels == 1
    assert stats_settings(None) == []


@pytest.mark.medium
def test_tfrecords_are_written_and_named(tmp_path, capsys):
    data = f"folder:{write_pictures(tmp_path / 'in', 7)}"
    for _ in range(2):  # the second time everything is there
        assert main(["tfrecords", f"--data={data}", f"--output={tmp_path / 'out'}", "--files=2"]) == 0
    assert f"7 images in 2 files: --data=tfrecord:{tmp_path}/out/*.tfrecord" in capsys.readouterr().out
    assert open_source(f"tfrecord:{tmp_path}/out/*.tfrecord").num_images == 7


def test_what_cannot_be_written_is_a_message(tmp_path, capsys):
    np.savez(tmp_path / "set.npz", images=np.zeros((3, 4, 4, 1), "uint8"))
    assert main(["tfrecords", f"--data=npz:{tmp_path}/set.npz", f"--output={tmp_path}/out"]) == 2
    message = f"TFRecord files are written from image files, and npz:{tmp_path}/set.npz[0] is in memory"
    assert message in capsys.readouterr().err


@pytest.mark.medium
def test_stats_replace_their_own_file_only(tmp_path, capfd):
    """Not one of the images, for instance."""
    np.savez(tmp_path / "set.npz", images=np.stack([drawn(4, 5, seed=n) for n in range(3)]))
    for _ in range(2):
        assert main(["stats", f"--data=npz:{tmp_path}/set.npz", f"--output={tmp_path}/stats.json"]) == 0
    data = f"folder:{write_pictures(tmp_path / 'in', 3)}"
    image = tmp_path / "in" / "000.png"
    before = image.read_bytes()
    line = refused(capfd, "stats", f"--data={data}", f"--output={image}")
    assert "000.png is not a file that keras-mae stats has written" in line and image.read_bytes() == before


@pytest.mark.medium
def test_stats_are_written_where_no_folder_is_yet_and_not_onto_one(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "set.npz", images=np.stack([drawn(4, 5, 1, seed=n) for n in range(5)]))
    data = f"npz:{tmp_path}/in/set.npz"
    assert main(["stats", f"--data={data}", "--channels=1", f"--output={tmp_path}/new/below/stats.json"]) == 0
    assert json.loads((tmp_path / "new/below/stats.json").read_text())["num_images"] == 5
    (tmp_path / "note").write_text("a file")
    for output in (f"{tmp_path}/in", f"{tmp_path}/note/stats.json", "nosuch://bucket/stats.json"):
        capsys.readouterr()
        assert main(["stats", f"--data={data}", "--channels=1", f"--output={output}"]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.startswith("keras-mae stats: ") and said.err.count("\n") == 1
        assert output in said.err  # and nothing has been measured


def test_records_go_nowhere_in_one_line(tmp_path, capsys):
    data = f"folder:{write_pictures(tmp_path / 'in', 3)}"
    (tmp_path / "note").write_text("a file")
    for output in (f"{tmp_path}/note", f"{tmp_path}/note/below", "nosuch://bucket/records"):
        assert main(["tfrecords", f"--data={data}", f"--output={output}"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("keras-mae tfrecords: ") and said.count("\n") == 1 and output in said


def test_a_name_that_is_not_utf_8_goes_into_records(tmp_path):
    folder = write_pictures(tmp_path / "in", 3)
    os.rename(os.fsencode(f"{folder}/001.png"), os.fsencode(folder) + b"/0\xff1.png")
    assert main(["tfrecords", f"--data=folder:{folder}", f"--output={tmp_path}/out"]) == 0
    before, after = open_source(f"folder:{folder}"), open_source(f"tfrecord:{tmp_path}/out/*.tfrecord")
    for index in range(3):
        np.testing.assert_array_equal(
            after.image(tf.constant(index, tf.int64), 3), before.image(tf.constant(index, tf.int64), 3)
        )


def test_a_cache_on_another_file_system(tmp_path):
    folder = write_pictures(tmp_path / "in", 4)
    cached = open_source(f"disk:ram://cache-of-{os.path.basename(tmp_path)}/a:folder:{folder}")
    assert cached.num_images == 4 and not os.path.exists("ram:")
    number = tf.constant(2, tf.int64)
    np.testing.assert_array_equal(cached.image(number, 3), open_source(f"folder:{folder}").image(number, 3))
