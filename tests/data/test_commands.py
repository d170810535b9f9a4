"""`keras-mae stats` and `keras-mae tfrecords`, and what `pretrain --stats` makes of the former."""

import json

import numpy as np

from keras_mae.cli import main
from keras_mae.commands.pretraining import stats_settings
from keras_mae.data import open_source
from keras_mae.trainers.config import PretrainConfig, changed
from tests.drawn import drawn, write_pictures


def test_stats_are_printed_written_and_put_into_the_config(tmp_path, capsys):
    data, output = f"folder:{write_pictures(tmp_path / 'in', 5, channels=1)}", tmp_path / "stats.json"
    assert main(["stats", f"--data={data}", "--channels=1", f"--output={output}"]) == 0
    record = json.loads(output.read_text())
    pixels = np.stack([drawn(20, 24, 1, seed=n) for n in range(5)]) / 255
    np.testing.assert_allclose([record["mean"], record["std"]], [[pixels.mean()], [pixels.std()]], atol=1e-5)
    assert f"5 images, uint8: --set 'mean=({record['mean'][0]},)' --set 'std=(" in capsys.readouterr().out
    config = changed(PretrainConfig(), stats_settings(str(output)))
    assert (config.mean, config.std) == (tuple(record["mean"]), tuple(record["std"])) and config.channels == 1
    assert stats_settings(None) == []


def test_tfrecords_are_written_and_named(tmp_path, capsys):
    data = f"folder:{write_pictures(tmp_path / 'in', 7)}"
    for _ in range(2):  # the second time everything is there
        assert main(["tfrecords", f"--data={data}", f"--output={tmp_path / 'out'}", "--files=2"]) == 0
    assert f"7 images in 2 files: --data=tfrecord:{tmp_path}/out/*.tfrecord" in capsys.readouterr().out
    assert open_source(f"tfrecord:{tmp_path}/out/*.tfrecord").num_images == 7


def test_what_cannot_be_written_is_a_message(tmp_path, capsys):
    assert main(["tfrecords", "--data=digits", f"--output={tmp_path}"]) == 2
    assert "TFRecord files are written from image files, and digits (train)[0] is in memory" in capsys.readouterr().err
