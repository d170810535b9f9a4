"""What programs set for their whole process, which `fit` leaves as it is: where freed memory goes, and the rest."""

import json
import platform

import pytest

from tests.base import run_python

PROGRAM = """
import json, os, resource, signal, sys, warnings
import keras, numpy as np, tensorflow as tf
from keras_mae import cli
from tests.base import random_images, small_mae

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        bytearray(2**26)[::4096]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def state():
    return {
        "environment": dict(os.environ),
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "random": np.random.get_state()[1].tolist(),
        "threads": [tf.config.threading.get_inter_op_parallelism_threads(),
                    tf.config.threading.get_intra_op_parallelism_threads()],
        "floats": [keras.config.floatx(), keras.config.dtype_policy().name],
        "hooks": [sys.excepthook is sys.__excepthook__, list(warnings.filters)],
        "directory": os.getcwd(),
    }

def fit():
    mae = small_mae()
    mae.compile(optimizer="adam", jit_compile=False)
    mae.fit(random_images(4, mae.encoder.image_shape), batch_size=2, verbose=0)

def start():
    cli._start_tensorflow()

new_pages()
before, fresh = state(), new_pages()
WHAT()
new_pages()
after, pages = state(), new_pages()
print(json.dumps([fresh, pages, [name for name in before if before[name] != after[name]]]))
"""

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")


def seen_around(what):
    """New pages that ten blocks of 64 MB take before and after, and the names of what else changed in the process."""
    done = run_python("-c", PROGRAM.replace("WHAT", what))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.medium
@needs_glibc
def test_a_program_touches_its_pages_once():
    # 10 blocks of 64 MB: 16384 pages of 4 kB each, or fewer where pages are larger
    before, after, _ = seen_around("start")
    assert after < 0.05 * before


@pytest.mark.medium
@needs_glibc
def test_fit_leaves_the_process_as_it_is():
    before, after, changed = seen_around("fit")
    assert changed == []
    assert after > 0.95 * before > 0
