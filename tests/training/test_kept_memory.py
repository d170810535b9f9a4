"""Freed memory stays with the process: what it touches again needs no new pages."""

import platform

import pytest

from tests.base import run_python

PROGRAM = """
import resource
from keras_mae.training.kept_memory import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        bytearray(2**26)[::4096]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(new_pages(), keep_freed_memory(), new_pages(), new_pages())
"""


@pytest.mark.medium
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_pages_are_touched_once():
    done = run_python("-c", PROGRAM)
    before, told, _, after = done.stdout.split()
    assert told == "True", done.stderr
    # 10 blocks of 64 MB: 16384 pages of 4 kB each, or fewer where pages are larger
    assert int(after) < 0.05 * int(before)
