"""Damaged files: no crash, bounded memory and time, and what Pillow shows where both decode them."""

import json

import pytest

from tests.base import run_forked
from tests.data.fuzzed import FORMS


def check(result, count):
    assert result["files"] == count and result["both"] > count / 100
    # damaged data that each decoder makes something else of, such as LZW codes of no string, and inks of no Adobe JPEG
    assert not result["slow"] and len(result["different"]) <= max(1, result["both"] // 100), result


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_many_damaged_files(form):
    """In a process of its own, whose data are limited; `test_decoding_memory.py` has some files in its process."""
    process = run_forked("-m", "tests.data.fuzzed", "10000", form)
    assert process.returncode == 0, process.stderr[-2000:]
    line = next(line for line in process.stdout.splitlines() if "RESULT" in line)
    check(json.loads(line.partition("RESULT")[2]), 10_000)
