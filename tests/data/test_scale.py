"""Many names are listed in seconds, and memory does not grow from epoch to epoch."""

import os
import time

import numpy as np
import pytest

from keras_mae.data import Augmentation, FolderSource, TrainingData
from tests.drawn import as_image, drawn, encoded, write


@pytest.mark.parametrize(
    "classes", [pytest.param(8, marks=pytest.mark.medium), pytest.param(200, marks=pytest.mark.slow)]
)
def test_200_000_names_are_listed_in_seconds(classes, tmp_path):
    """Processor time: what else runs on the machine is not its cost."""
    for folder in range(classes):
        os.mkdir(tmp_path / f"class{folder:03}")
        descriptor = os.open(tmp_path / f"class{folder:03}", os.O_RDONLY)
        for number in range(1000):
            os.close(os.open(f"{number:04}.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
        os.close(descriptor)
    begin = time.process_time()
    source = FolderSource(str(tmp_path))
    assert time.process_time() - begin < classes / 20
    assert source.num_images == 1000 * classes and len(source.class_names) == classes
    assert np.bincount(source.labels).tolist() == [1000] * classes


def resident():
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_memory_is_flat_over_10_epochs_of_2000_images(tmp_path):
    contents = [encoded(as_image(drawn(40, 50, seed=n)), "JPEG") for n in range(8)]
    for number in range(2000):
        write(tmp_path / f"{number:04}.jpg", contents[number % 8])
    source = FolderSource(str(tmp_path))
    stream = iter(TrainingData(source, (32, 32, 3), 100, 0, Augmentation()).at())
    after = []
    for _ in range(10):
        for _ in range(20):
            next(stream)
        after.append(resident())
    assert max(after[4:]) - after[2] < 8e6, [round(size / 1e6, 1) for size in after]  # an epoch is 6 MB of pixels
