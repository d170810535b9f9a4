"""Runs pytest on the files named on the command line: the main program of every py_test in BUILD."""

import sys

import pytest

if __name__ == "__main__":
    code = pytest.main(["-p", "no:cacheprovider", "-m", "not slow", *sys.argv[1:]])
    sys.exit(0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code)  # a file may hold slow tests only
