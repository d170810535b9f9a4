"""A storage whose files fail with EIO or are slow, as a library that is loaded before the C library makes them."""

import json
import os
import shutil
import subprocess

import pytest

from tests.base import run_python

BOUND = 3.1  # seconds that a storage is waited for there
SLACK = 90  # of a busy machine; a hang would be for ever


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The compiled failing_storage.c."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no C compiler")
    path = str(tmp_path_factory.mktemp("c") / "failing_storage.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "failing_storage.c")
    subprocess.run(["gcc", "-Wall", "-shared", "-fPIC", "-o", path, source, "-ldl"], check=True, capture_output=True)
    return path


def found_in(library, root, *what):
    done = run_python("-m", "tests.data.failing_storage", str(root), *what, LD_PRELOAD=library)
    results = [line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert results, done.stderr
    return json.loads(results[0])


def check_streams(found, folder):
    well = found["well"]
    assert well["images"] == 180 and not well["error"]
    for name in ("a while", "slow"):  # bitwise the same batches
        assert found[name]["digest"] == well["digest"] and not found[name]["names"] and not found[name]["error"]
    assert f'keras-mae: cannot read "{folder}/' in found["a while"]["stderr"]
    assert "keras-mae:" not in found["slow"]["stderr"]  # slow is no fault

    one = found["one"]
    assert one["names"] == [f"{folder}/017.png"] and one["images"] == 180
    assert one["summary"] == "1 of 120 images were skipped: 1 cannot be read"

    last = found["for ever"]
    assert last["error"].startswith(f"the storage fails: cannot read {folder}/") and not last["images"]
    assert last["error"].endswith("png; it did not come back within 3 seconds") and last["seconds"] < BOUND + SLACK


def check_refusal(found, beginning, end):
    assert found["code"] == 2 and found["seconds"] < BOUND + SLACK
    last = found["stderr"].splitlines()[-1]
    assert last.startswith(beginning) and last.endswith(end)
    assert "Traceback" not in found["stderr"]


@pytest.mark.slow
def test_streams_and_a_folder_that_cannot_be_opened(library, tmp_path):
    found, folder = found_in(library, tmp_path), f"{tmp_path}/pictures"
    check_streams(found, folder)
    message = f"keras-mae tfrecords: the storage fails: cannot read {folder}; it did not come back within 3 seconds"
    check_refusal(found["tfrecords"], message, message)


@pytest.mark.slow
def test_what_is_read_outside_a_stream_and_a_training_whose_data_go_away(library, tmp_path):
    found, folder = found_in(library, tmp_path, "commands"), f"{tmp_path}/pictures"
    assert found["outside"][0] == [120, "uint16"] and found["outside, a while"] == found["outside"]
    beginning = f"keras-mae pretrain: the storage fails: cannot read {folder}/"
    check_refusal(found["pretrain"], beginning, ", continue with --resume")
    assert os.path.exists(tmp_path / "run" / "log.jsonl")
