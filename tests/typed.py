"""`keras-mae` as a user types it."""

from keras_mae import cli
from tests.base import run_forked


def keras_mae(*arguments):
    """Runs the command in a process of its own, one that has imported TensorFlow."""
    return run_forked("-m", "keras_mae", *map(str, arguments))


def refused(capfd, *arguments):
    """Runs the command here, asserts exit code 2 and one line on stderr, and returns that line."""
    capfd.readouterr()
    code = cli.main([str(argument) for argument in arguments])
    captured = capfd.readouterr()
    assert code == 2 and captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("keras-mae ")
    return line
