"""Two processes that write into one folder: the second is refused, and what a killed one held is free."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from keras_mae import cli
from keras_mae.one_writer import lock_folder, released
from keras_mae.trainers.pretrain import pretrain
from keras_mae.trainers.settings import changed
from tests.base import random_images
from tests.drawn import TINY, write_pictures
from tests.trainers.pretraining import CONFIG
from tests.typed import refused

HOLDER = """
import sys
from keras_mae.one_writer import lock_folder
lock_folder(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has the lock of `tmp_path / "run"`."""
    (tmp_path / "run").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path, holder):
    with released():
        for path in (tmp_path / "run", tmp_path / "run" / ".." / "run"):
            with pytest.raises(
                ValueError, match="another process is writing to .*run at this moment: wait for its end"
            ):
                lock_folder(str(path))
        lock_folder(str(tmp_path))  # no other folder is locked
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        lock_folder(str(tmp_path / "run"))
    assert os.listdir(tmp_path / "run") == []  # no file tells of it


def test_is_given_back_when_the_outermost_is_left(tmp_path):
    program = f"from keras_mae.one_writer import lock_folder; lock_folder({str(tmp_path)!r})"

    def elsewhere():
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).returncode

    @released()
    def outer():
        inner()
        lock_folder(str(tmp_path))  # it has it
        return elsewhere()

    @released()
    def inner():
        lock_folder(str(tmp_path))

    assert outer() == 1 and elsewhere() == 0
    with pytest.raises(OSError, match="nowhere"):
        lock_folder(str(tmp_path / "nowhere"))
    lock_folder("gs://bucket/run")  # no lock on a remote folder, and no error
    assert elsewhere() == 0


def test_commands_are_refused_while_another_process_writes(capfd, tmp_path, holder):
    pictures = write_pictures(tmp_path / "pictures", 12)
    command = ["pretrain", f"--data=folder:{pictures}", f"--output={tmp_path}/run", "--recipe=mae_small_images"]
    command += [f"--set={setting}" for setting in (*TINY, "epochs=1", "warmup_epochs=0")]
    tfrecords = ["tfrecords", f"--data=folder:{pictures}", f"--output={tmp_path}/run"]
    for each in (command, [*command, "--resume"], [*command, "--overwrite"], tfrecords):
        line = refused(capfd, *each)
        assert f"another process is writing to {tmp_path}/run at this moment: wait for its end, or name another" in line
    assert os.listdir(tmp_path / "run") == []
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert cli.main(tfrecords) == 0


@pytest.mark.medium
def test_a_run_has_its_folder_alone_until_it_ends(tmp_path, monkeypatch):
    np.savez(tmp_path / "pictures.npz", images=random_images(20, (16, 16, 3)))
    codes = []

    def try_elsewhere():
        program = f"from keras_mae.one_writer import lock_folder; lock_folder({str(tmp_path / 'run')!r})"
        codes.append(subprocess.run([sys.executable, "-c", program], capture_output=True).returncode)

    monkeypatch.setattr("keras_mae.trainers.pretrain.train", lambda *_, **__: try_elsewhere())
    config = changed(CONFIG, ["epochs=1", "warmup_epochs=0"])
    pretrain(config, f"npz:{tmp_path / 'pictures.npz'}", str(tmp_path / "run"))
    try_elsewhere()
    assert codes == [1, 0]
