"""A pretraining run, and labelled images with an encoder, for every test that only looks at them."""

import numpy as np
import pytest

from keras_mae.trainers import run
from keras_mae.trainers.pretrain import pretrain
from tests.drawn import drawn, write_pictures
from tests.trainers.labelled import write_everything
from tests.trainers.pretraining import WITH_PICTURES


@pytest.fixture(scope="module", autouse=True)
def _no_other_formats(png_and_jpeg):
    """The pictures here are PNG."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), 20)


@pytest.fixture(scope="session")
def arrays(tmp_path_factory):
    """The folder's pictures as an array, which is begun with in half the time."""
    path = tmp_path_factory.mktemp("arrays") / "pictures.npz"
    np.savez(path, images=np.stack([drawn(20, 24, seed=number) for number in range(20)]))
    return f"npz:{path}"


@pytest.fixture(scope="session")
def finished(arrays, tmp_path_factory):
    """An uninterrupted run: its folder, and the model that `pretrain` returned."""
    output = str(tmp_path_factory.mktemp("runs") / "whole")
    return run.RunFolder(output), pretrain(WITH_PICTURES, arrays, output)


@pytest.fixture(scope="session")
def given(tmp_path_factory):
    """Where an encoder, images to train on and images to test on are."""
    return write_everything(tmp_path_factory.mktemp("given"))
