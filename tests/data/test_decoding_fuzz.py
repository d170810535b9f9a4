"""Damaged files: no crash, bounded memory and time, and what Pillow shows where both decode them."""

import json

import pytest

from tests.base import run_forked
from tests.data.fuzzed import FORMS


def check(count, form):
    """In a process of its own, whose data are limited to 2 GiB beyond what TensorFlow takes."""
    process = run_forked("-m", "tests.data.fuzzed", str(count), form)
    assert process.returncode == 0, process.stderr[-2000:]
    line = next(line for line in process.stdout.splitlines() if "RESULT" in line)
    result = json.loads(line.partition("RESULT")[2])
    assert result["files"] == count and result["both"] > count / 100
    # damaged data that each decoder makes something else of, such as LZW codes of no string, and inks of no Adobe JPEG
    assert not result["slow"] and len(result["different"]) <= max(1, result["both"] // 100), result


@pytest.mark.medium
@pytest.mark.parametrize("form", ["TIFF"])  # the decoder that is all ours
def test_some_damaged_files(form):
    check(200, form)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_many_damaged_files(form):
    check(10_000, form)
