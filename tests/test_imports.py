"""What importing costs, and on which backend it is refused; each in a process of its own."""

import gc
import statistics
import sys

import pytest

from keras_mae import cli
from tests.base import run_forked, run_python

HEAVY = ("tensorflow", "keras", "numpy", "PIL", "torch", "absl")


def output(script, **environment):
    process = run_python("-c", script, **environment)
    assert process.returncode == 0, process.stderr[-4000:]
    return process.stdout.strip()


def test_import_keras_mae_imports_nothing_heavy():
    script = f"import sys, keras_mae; dir(keras_mae); print([name for name in {HEAVY} if name in sys.modules])"
    assert output(script) == "[]"


@pytest.mark.medium
def test_importing_the_models_imports_nothing_heavy_that_keras_does_not():
    """The short form of the time test below: it is packages such as these that take time to import."""
    script = (
        "import sys, keras, tensorflow; before = set(sys.modules); import keras_mae; keras_mae.SimMIM; "
        "assert 'keras_mae.models' in sys.modules and 'SimMIM' in vars(keras_mae); "  # resolved on first use
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - {'keras_mae'} - set(sys.stdlib_module_names) - {n.partition('.')[0] for n in before}))"
    )
    process = run_forked("-c", script)  # where both are imported
    assert process.returncode == 0, process.stderr[-4000:]
    assert process.stdout.strip() == "[]"


def test_a_program_looks_for_garbage_but_not_among_what_it_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow")  # as if it were not imported yet
    gc.unfreeze()
    cli._import_tensorflow()
    assert gc.get_freeze_count() > 100_000
    for enabled in (gc.disable, gc.enable):  # it leaves the collector as it was
        enabled()
        cli._import_tensorflow()
        assert gc.isenabled() == (enabled is gc.enable)


@pytest.mark.slow
def test_importing_the_models_takes_at_most_300_ms_more_than_tensorflow_and_keras():
    """Alternating, so that a machine that slows down slows both; the first pair fills the file cache.

    Processor time: importing is work of one thread, and waiting for other programs is not its cost.
    """

    def seconds(statement):
        script = f"import time; start = time.process_time(); {statement}; print(time.process_time() - start)"
        return float(output(script))

    statements = ("import tensorflow, keras", "import tensorflow, keras, keras_mae.models")
    pairs = [[seconds(statement) for statement in statements] for _ in range(6)][1:]
    without, with_models = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert with_models - without <= 0.3


@pytest.mark.medium
@pytest.mark.parametrize(
    "statement",
    [
        *(f"import keras_mae.{module}" for module in ("layers", "masking", "targets", "training", "models")),
        pytest.param("import keras_mae.data", marks=pytest.mark.slow),  # seconds, as it begins with TensorFlow
        "from keras_mae import ViTEncoder",
        "from keras_mae.encoders import Encoder",
    ],
)
def test_another_backend_is_refused_before_keras_is_imported(statement):
    process = run_python("-c", statement, KERAS_BACKEND="jax")
    assert process.returncode == 1
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: KERAS_BACKEND is 'jax'. keras_mae trains with tf.distribute")
    assert "Set the environment variable KERAS_BACKEND=tensorflow" in last


def test_another_backend_in_keras_own_file_is_refused(tmp_path):
    """~/.keras/keras.json sets the backend too; a Keras that is imported and runs on it is a stand-in here."""
    keras = tmp_path / "keras"
    keras.mkdir()
    (keras / "__init__.py").write_text("class config:\n    backend = staticmethod(lambda: 'torch')\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import keras_mae._backend"
    process = run_python("-c", script, KERAS_BACKEND="tensorflow")
    assert "ImportError: Keras runs on the backend 'torch'. keras_mae trains with tf.distribute" in process.stderr


@pytest.mark.slow
def test_nothing_here_speaks_to_another_machine(tmp_path):
    """No import and no command that reads local files looks up a host or connects to one: there is no telemetry."""
    script = (
        "import importlib, sys\n"
        "def hook(event, arguments):\n"
        "    address = arguments[1] if event == 'socket.connect' else arguments[0]\n"
        "    if event == 'socket.getaddrinfo' or event == 'socket.connect' and isinstance(address, tuple):\n"
        "        raise AssertionError(f'{event} {arguments}')\n"
        "sys.addaudithook(hook)\n"
        "import keras_mae, huggingface_hub, keras_cv, tensorflow_datasets\n"
        "for name in (*keras_mae._SUBPACKAGES, 'cli', 'demo'):\n"
        "    importlib.import_module(f'keras_mae.{name}')\n"
        "from keras_mae import cli\n"
        "from tests.drawn import TINY, write_pictures\n"
        f"folder = {str(tmp_path)!r}\n"
        "write_pictures(f'{folder}/images', 8)\n"
        "settings = [f'--set={setting}' for setting in (*TINY, 'epochs=1', 'warmup_epochs=0')]\n"
        "words = ['--recipe=mae_small_images', f'--data=folder:{folder}/images', f'--output={folder}/run', *settings]\n"
        "assert cli.main(['pretrain', *words]) == 0\n"
        "assert cli.main(['card', f'--run={folder}/run', f'--output={folder}/card']) == 0\n"
        "assert cli.main(['export', f'--run={folder}/run', f'--output={folder}/model']) == 0\n"
    )
    output(script)
