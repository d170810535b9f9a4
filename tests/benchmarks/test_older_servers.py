"""Comparisons with an older TensorFlow; the slow tests install the versions that docs/versions.md names."""

import os
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import older_servers
from keras_mae.export import export_autoencoder, saved_model
from tests import fork_server
from tests.base import PLANES, ROOT, small_mae

TOO_OLD = "2.19"
WITHOUT_FILES = "autoencoder"  # has no signature of image files


def test_differences_name_what_differs():
    expected = {"a": {"f": {"x": [1.0, -4.0], "label": ["61", "62"]}, "g": {"x": [2.0]}}, "b": {"f": {"x": [1.0]}}}
    found = {"a": {"f": {"x": [1.5, -4.0], "label": ["61", "63"]}, "g": {"x": [2.0, 3.0]}}, "b": "cannot be loaded"}
    assert older_servers.differences(expected, found) == {
        "a/f/x": 0.125,
        "a/f/label": "is different",
        "a/g/x": "has 2 numbers in place of 1",
        "b": "cannot be loaded",
    }
    assert older_servers.differences(expected, expected) == {"a/f/x": 0, "a/f/label": 0, "a/g/x": 0, "b/f/x": 0}
    assert older_servers.differences({"a": {"f": {"x": [1.0]}}}, {"a": {}}) == {"a/f": "is missing"}


def run_of_file(command, environment):
    """`python -P FILE ...` in a process that begins with TensorFlow imported."""
    _, _, file, *arguments = command
    program = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    return fork_server.run(["-c", program, file, *arguments], ["tensorflow"], environment)


class OfFiles(tf.Module):
    """Says of files how long they are, and which are the short ones."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def lengths(self, image_bytes):
        lengths = tf.strings.length(image_bytes)
        return {"probabilities": lengths, "label": tf.where(lengths < 5000, "short", "long")}


@pytest.mark.medium
def test_every_signature_is_asked(tmp_path, monkeypatch):
    """In this TensorFlow: the answers are those of the signatures, and a folder that is no model is named."""
    monkeypatch.setattr(saved_model, "verify_export", lambda *arguments: {})  # tests/export has this
    forked = types.SimpleNamespace(run=lambda command, env, **_: run_of_file(command, env))
    monkeypatch.setattr(older_servers, "subprocess", forked)
    exports, files = tmp_path / "exports", tmp_path / "files"
    mae = small_mae(image_shape=PLANES)
    export_autoencoder(mae, str(exports / "autoencoder"))
    of_files = OfFiles()
    tf.saved_model.save(of_files, str(exports / "classifier" / "1"), {"serving_default": of_files.lengths})
    (exports / "nothing" / "1").mkdir(parents=True)
    older_servers.write_files(str(files))
    found = older_servers.answers_of(sys.executable, str(exports), str(files))
    assert found["tensorflow"] == tf.__version__
    answers = found["answers"]
    assert "nothing" in answers["nothing"]
    assert set(answers["autoencoder"]) == {"reconstruct"}
    assert len(answers["autoencoder"]["reconstruct"]["masked_images"]) == 3 * np.prod(PLANES)

    lengths = [len(path.read_bytes()) for path in sorted(files.iterdir())]
    assert min(lengths) < 5000 < max(lengths)
    served = answers["classifier"]["serving_default"]
    assert served["probabilities"] == lengths
    assert [bytes.fromhex(label) for label in served["label"]] == [
        b"short" if length < 5000 else b"long" for length in lengths
    ]


@pytest.fixture(scope="module")
def results():
    """The differences of the oldest version that reads exports, and what stops the one before it."""
    found = older_servers.main([older_servers.OLDEST, TOO_OLD])
    for rows in found.values():
        if "installation" in rows:
            pytest.skip(f"PyPI cannot be reached: {rows['installation']}")
    return found


@pytest.mark.slow
def test_the_oldest_server_gives_the_same_numbers(results):
    """float32 differs by the order of sums; bfloat16 rounds to 8 bits, and other kernels round elsewhere."""
    rows = results[older_servers.OLDEST]
    assert len(rows) > 20 and {name.split("/")[0] for name in rows} > {"encoder", "classifier", WITHOUT_FILES}
    for name, difference in rows.items():
        assert difference < (0.02 if "bfloat16" in name else 1e-5), f"{name}: {difference}"


@pytest.mark.slow
def test_what_stops_an_older_server(results):
    rows = results[TOO_OLD]
    assert {name: row for name, row in rows.items() if not name.startswith(WITHOUT_FILES)} == {
        name: "Op type not registered 'DecodeWebP'"
        for name in ("classifier", "encoder", "encoder_bfloat16", "regressor", "segmenter")
    }
    numbers = [row for name, row in rows.items() if name.startswith(WITHOUT_FILES)]
    assert numbers and all(number < 1e-5 for number in numbers)


def test_the_page_says_what_these_tests_hold():
    with open(os.path.join(ROOT, "docs", "versions.md"), encoding="utf-8") as file:
        page = file.read()
    assert f"TensorFlow {older_servers.OLDEST} and later reads" in page
    assert f"`DecodeWebP`, which TensorFlow {TOO_OLD} does not have" in page
