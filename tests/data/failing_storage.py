"""A process whose storage fails: what `test_failing_storage.py` looks at.

Runs as a program with `failing_storage.c` loaded before the C library, as paths are made to fail by variables of the
environment; prints what came of it as JSON.
"""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import threading
import time

import numpy as np

from keras_mae import cli
from keras_mae.data import (
    Augmentation,
    FolderSource,
    TrainingData,
    open_source,
    patient_reading,
    sample_images,
    write_records,
)
from keras_mae.data.patient_reading import storage_errors
from tests.drawn import TINY, as_image, drawn, encoded, write

COUNT, BATCH, STEPS, SHAPE = 120, 20, 9, (5, 6, 3)
LONE = "017.png"


def draw(folder):
    """Pictures of 16 bits: a folder that is opened while nothing can be read would be taken for one of 8 bits."""
    for number in range(COUNT):
        pixels = drawn(*SHAPE[:2], 1, seed=number).astype("uint16") * 257
        write(os.path.join(folder, f"{number:03}.png"), encoded(as_image(pixels), "PNG"))
    return folder


@contextlib.contextmanager
def failing(kind, path, told=None):
    """While this is entered, files whose path holds a text fail; or until it was told that one does."""
    left = threading.Event()

    def wait():
        while "cannot read" not in told() and not left.wait(0.02):
            pass
        time.sleep(0.2)
        os.environ[kind] = ""

    waiting = threading.Thread(target=wait)
    os.environ[kind] = path
    if told:
        waiting.start()
    yield
    left.set()
    if told:
        waiting.join()
    os.environ[kind] = ""


@contextlib.contextmanager
def stderr():
    """Yields a function that gives what has been written to stderr since, by TensorFlow too."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)

        def text():
            sys.stderr.flush()
            return os.pread(file.fileno(), 10**7, 0).decode()

        try:
            yield text
        finally:
            os.dup2(before, 2)
            os.close(before)


def digest(arrays):
    return hashlib.sha256(np.ascontiguousarray(arrays).tobytes()).hexdigest()


def stream_of(source):
    """The first batches of a training, and the account of the images that are not in there."""
    as_they_come = Augmentation(crop_scale=None, flip=False, crop_ratio=1.0)
    data = TrainingData(source, SHAPE, BATCH, 5, as_they_come)
    return data.at().take(STEPS), data.corrupt


def read_through(batches, corrupt, kind="FAIL_OPEN", path="", for_a_while=False):
    """Reads these batches while files fail, and says what happened."""
    begin, error, found = time.monotonic(), "", []
    with stderr() as text:
        with failing(kind, path, text if for_a_while else None):
            try:
                with storage_errors():
                    found = list(batches.as_numpy_iterator())
            except OSError as reason:
                error = str(reason)
        return {
            "digest": digest(found), "images": sum(map(len, found)), "error": error,
            "seconds": time.monotonic() - begin, "summary": corrupt.summary(), "names": list(corrupt.names.values()),
            "stderr": text(),
        }  # fmt: skip


def outside_a_stream(folder, fails=False):
    """What reads images, or their folder, before and beside a training."""
    source = FolderSource(folder)

    def opened():
        found = open_source(f"folder:{folder}")
        return [found.num_images, found.dtype]

    def sampled():
        return digest(sample_images(source, SHAPE, 8, 1.0))

    def written():
        with tempfile.TemporaryDirectory() as directory:
            paths = write_records(source, directory, 2)
            return [hashlib.sha256(open(path, "rb").read()).hexdigest() for path in paths]

    found = []
    for function in (opened, sampled, written):
        with stderr() as text, failing("FAIL_OPEN", folder if fails else "", text if fails else None):
            found.append(function())
            assert ("cannot read" in text()) == fails
    return found


def command(*arguments):
    """Exit code, last line and seconds of a command."""
    begin = time.monotonic()
    with stderr() as text:
        code = cli.main(list(arguments))
        return {"code": code, "stderr": text(), "seconds": time.monotonic() - begin}


def pretrain(folder, output):
    """A training whose data go away for ever after its first epoch."""
    settings = [
        f"--set={setting}"
        for setting in (*TINY, "epochs=100000", "batch_size=40", "channels=1", "mean=None", "jit_compile=False")
    ]
    done = threading.Event()

    def wait():
        while not os.path.exists(f"{output}/log.jsonl") and not done.wait(0.05):
            pass
        os.environ["FAIL_READ"] = folder

    waiting = threading.Thread(target=wait)
    waiting.start()
    found = command("pretrain", f"--data=folder:{folder}", f"--output={output}", *settings)
    done.set()
    waiting.join()
    os.environ["FAIL_READ"] = ""
    return found


def main(root, commands):
    patient_reading.FIRST_DELAY, patient_reading.ALONE, patient_reading.OUTAGE = 0.1, 0.7, 3.1
    folder = draw(f"{root}/pictures")
    stream = stream_of(FolderSource(folder))
    found = {
        "well": read_through(*stream),
        "a while": read_through(*stream, "FAIL_READ", folder, for_a_while=True),
        "slow": read_through(*stream, "SLOW_OPEN", folder),
        "one": read_through(*stream, "FAIL_READ", LONE),
        "for ever": read_through(*stream, "FAIL_READ", folder),
    }
    with failing("FAIL_OPEN", folder):
        found["tfrecords"] = command("tfrecords", f"--data=folder:{folder}", f"--output={root}/records")
    if commands:
        found["outside"], found["outside, a while"] = outside_a_stream(folder), outside_a_stream(folder, fails=True)
        found["pretrain"] = pretrain(folder, f"{root}/run")
    return found


if __name__ == "__main__":
    print("RESULT", json.dumps(main(sys.argv[1], sys.argv[2:] == ["commands"])))
