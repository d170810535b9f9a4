"""What `keras-mae export` says when its check fails; tests/export/test_command.py has the rest."""

import os

import pytest

from keras_mae.commands import exporting
from keras_mae.export import verify
from keras_mae.trainers.trained_model import TrainedModel
from tests.base import PLANES, small_encoder
from tests.typed import refused

pytestmark = pytest.mark.medium  # they export


@pytest.fixture
def export(capfd, tmp_path):
    """Exports an encoder, which must be refused in a line and leave nothing; gives the line."""
    small_encoder(PLANES).save(tmp_path / "encoder.keras")

    def refused_export():
        line = refused(capfd, "export", f"--run={tmp_path / 'encoder.keras'}", f"--output={tmp_path / 'model'}")
        assert os.listdir(tmp_path) == ["encoder.keras"]
        return line

    return refused_export


def test_a_model_that_differs(export, monkeypatch):
    def of_another_model(path, cases):
        return {name: {key: value + 1 for key, value in outputs.items()} for name, outputs in given.items()}

    given, live_outputs = {}, verify.live_outputs
    monkeypatch.setattr(verify, "live_outputs", lambda *a: given.update(live_outputs(*a)) or given)
    monkeypatch.setattr(verify, "_outputs_of_fresh_process", of_another_model)
    line = export()
    assert line.startswith("keras-mae export: the exported model differs from the live one in ") and "by 1.00e" in line


def test_a_model_that_the_fresh_process_cannot_use(export, monkeypatch):
    """In a line; `test_saved_model.py` has the check."""
    said = "Traceback (most recent call last):\n  line 7\nValueError: there is no such operation\n"

    def cannot_be_used(values, output):
        raise verify.VerificationError(f"a fresh process cannot use the exported model:\n{said}")

    monkeypatch.setattr(exporting, "_write", cannot_be_used)
    assert export() == (
        "keras-mae export: a fresh process cannot use the exported model: ValueError: there is no such operation"
    )


def test_data_that_name_no_classes_give_numbers():
    values = exporting.EXPORT.make_flags()
    values(["export"])
    assert exporting._labels(values, TrainedModel("best.keras", "run", seen={"class_names": []}), 3) is None
