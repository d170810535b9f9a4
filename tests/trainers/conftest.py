"""A pretraining run, and labelled images with an encoder, for every test that only looks at them."""

import pytest

from keras_mae.trainers import run
from keras_mae.trainers.pretrain import pretrain
from tests.drawn import write_pictures
from tests.trainers.labelled import write_everything
from tests.trainers.pretraining import CONFIG


@pytest.fixture(scope="module", autouse=True)
def _no_other_formats(png_and_jpeg):
    """The pictures here are PNG."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), 20)


@pytest.fixture(scope="session")
def finished(folder, tmp_path_factory):
    """An uninterrupted run: its folder, and the model that `pretrain` returned."""
    output = str(tmp_path_factory.mktemp("runs") / "whole")
    return run.RunFolder(output), pretrain(CONFIG, f"folder:{folder}", output)


@pytest.fixture(scope="session")
def given(tmp_path_factory):
    """Where an encoder, images to train on and images to test on are."""
    return write_everything(tmp_path_factory.mktemp("given"))
