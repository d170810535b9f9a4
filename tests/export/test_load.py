"""Many requests from many threads, of mixed sizes and formats, some of them corrupt."""

import concurrent.futures
import threading

import numpy as np
import pytest
import tensorflow as tf

from tests.export.conftest import FILES

THREADS = 8
ROUND_OFF = 1e-5  # of values of about 1: the order of float32 sums changes with the batch size

pytestmark = pytest.mark.medium


def resident_megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def requests(count):
    """`(indices of FILES, index of the corrupt one or None)` of each request: 1 to 8 files, one in 20 corrupt."""
    rng = np.random.default_rng(0)
    for number in range(count):
        files = rng.integers(0, len(FILES), rng.integers(1, 9))
        yield files, int(rng.integers(0, len(files))) if number % 20 == 19 else None


@pytest.mark.parametrize("count", [160, pytest.param(2000, marks=pytest.mark.slow)])
def test_load(served, count):
    serve = served.loaded.signatures["serving_default"]
    expected = served.live_of_files(FILES)
    serve(image_bytes=tf.constant(FILES))  # a server warms up: threads that begin together would each start the graph
    seen, lock = [], threading.Lock()

    def answer(request):
        files, corrupt = request
        contents = [b"no image" if place == corrupt else FILES[file] for place, file in enumerate(files)]
        try:
            embedding = serve(image_bytes=tf.constant(contents))["embedding"].numpy()
        except tf.errors.InvalidArgumentError as error:
            assert corrupt is not None and f"the request:] [{corrupt}]" in error.message
        else:
            assert corrupt is None
            np.testing.assert_allclose(embedding, expected[files], rtol=0, atol=ROUND_OFF)
        with lock:
            seen.append(resident_megabytes())

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(answer, requests(count)))
    assert len(seen) == count
    early, late = np.median(seen[count // 4 : count // 2]), np.median(seen[-count // 4 :])
    assert late - early < 20, f"from {early:.0f} to {late:.0f} MB"  # the size of the allocators' own caches
