"""What all tests share: the `slow` marker, hypothesis' profile, and a fresh once-a-process warning."""

import hypothesis
import pytest

# No deadline: the first example of a test traces TensorFlow graphs. Derandomized: a run is a function of the code.
hypothesis.settings.register_profile("keras_mae", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("keras_mae")


def pytest_configure(config):
    """Registers the markers, for runs that do not read pyproject.toml."""
    config.addinivalue_line("markers", "slow: takes long; run by `make test-slow` only")


@pytest.fixture(autouse=True)
def _no_warning_given_yet():
    """The warning of images in [0, 1] is given once a process: every test starts as if it were not given yet."""
    import keras_mae.layers.pixel_range as pixel_range

    pixel_range._warned = False
