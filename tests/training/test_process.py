"""`fit` changes nothing in its process but the model: not where freed memory goes, nor any other setting."""

import json
import platform

import pytest

from tests.base import run_forked

PROGRAM = """
import json, os, resource, signal, sys, warnings
import keras, numpy as np, tensorflow as tf
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

new_pages()
before, fresh = state(), new_pages()
fit()
new_pages()
after, pages = state(), new_pages()
print(json.dumps([fresh, pages, [name for name in before if before[name] != after[name]]]))
"""


@pytest.mark.medium
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are not asked for their pages")
def test_fit_leaves_the_process_as_it_is():
    """Ten blocks of 64 MB take as many new pages after it as before, and nothing else has changed."""
    done = run_forked("-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    before, after, changed = json.loads(done.stdout)
    assert changed == []
    assert after > 0.95 * before > 0
