"""A SavedModel is not written to a local folder that is called like another file system."""

import os

import pytest

from keras_mae.export import export_encoder
from tests.base import small_encoder


def test_an_output_on_another_file_system_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="a SavedModel is written to a folder of a local disk, got gs://bucket/model"):
        export_encoder(small_encoder(), "gs://bucket/model")
    assert not os.listdir(tmp_path)
