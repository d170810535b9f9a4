"""What all tests share: hypothesis' profile, and a fresh once-a-process warning."""

import gc
import os
import subprocess
import sys
import types

import hypothesis
import pytest

# No deadline: the first example of a test traces TensorFlow graphs. Derandomized: a run is a function of the code.
hypothesis.settings.register_profile("keras_mae", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("keras_mae")

# LLVM does not optimise what XLA compiles, which is a third of the time of a compiled test: what a step computes, and
# whether XLA can compile it, is settled before. Programs that `tests.base.run_python` starts compile as users' do.
_UNOPTIMISED = "--xla_backend_optimization_level=0"
if _UNOPTIMISED not in os.environ.get("XLA_FLAGS", ""):  # read when XLA is first used
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_UNOPTIMISED}".strip()

gc.set_threshold(50_000, 20, 50)  # TensorFlow's graphs are millions of objects, which Python looks through too often


def pytest_collection_modifyitems(items):
    """Files with a medium test come first: at the end, quick ones keep every process busy."""
    long = {item.path for item in items if item.get_closest_marker("medium")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session", autouse=True)
def _float32_on_processors():
    """`dtype_policy=auto` is float32 in a test, whatever the machine's processor computes in."""
    from keras_mae.trainers import machine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "processor_flags", frozenset)
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_checks_of_exports():
    """The process that checks an export is forked from one that has imported TensorFlow, and nothing of ours or Keras.

    `real_checks_of_exports` starts Python as users have it.
    """
    if "tensorflow" not in sys.modules:
        yield
        return
    from keras_mae.export import verify
    from tests import fork_server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "subprocess", types.SimpleNamespace(run=fork_server.run_as_an_export_is_checked))
        yield


@pytest.fixture
def real_checks_of_exports(monkeypatch):
    from keras_mae.export import verify

    monkeypatch.setattr(verify, "subprocess", subprocess)


def pytest_collection_finish():
    """What was imported stays: the collector has not to look through it again, now and at the end."""
    gc.freeze()


def pytest_sessionfinish():
    gc.freeze()  # pytest collects five times, and Python once more, before a process may end


@pytest.fixture(autouse=True)
def _no_warning_given_yet():
    """The warning of images in [0, 1] is given once a process: every test starts as if it were not given yet."""
    pixel_range = sys.modules.get("keras_mae.layers.pixel_range")  # tests that import no TensorFlow stay quick
    if pixel_range is not None:
        pixel_range._warned.clear()


@pytest.fixture(scope="module")
def png_and_jpeg():
    """No graph holds the decoders of the four other formats, which are most of what is traced for an image file.

    For modules that read no such file and are not about formats; `tests/data/test_formats.py` and its kind are.
    """
    from tests.two_formats import patched

    with pytest.MonkeyPatch.context() as patch:
        patched(patch)
        yield


@pytest.fixture
def verified_here(monkeypatch):
    """An export is compared with the live model in this process, for tests that are not about a fresh one."""
    import tensorflow as tf

    from keras_mae.export import verify

    def outputs(path, cases):
        signatures = tf.saved_model.load(path).signatures
        given = {name: {key: tf.constant(value) for key, value in inputs.items()} for name, inputs in cases.items()}
        return {
            name: {key: value.numpy() for key, value in signatures[name](**inputs).items()}
            for name, inputs in given.items()
        }

    monkeypatch.setattr(verify, "_outputs_of_fresh_process", outputs)
