"""Damaged image files, decoded in a process whose memory is limited: `python -m tests.data.fuzzed COUNT FORM SEED`."""

import json
import random
import resource
import sys
import time
import warnings
import zlib

import numpy as np

FORMS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
_LIMIT = 2 * 2**30  # bytes of data beyond what TensorFlow takes
_SLOW = 20.0  # seconds


def mutated(contents, form, draw):
    """The file, damaged in one to three ways."""
    for _ in range(draw.randint(1, 3)):
        if not contents:
            break
        contents = bytearray(contents)
        kind = draw.randrange(7)
        place = draw.randrange(len(contents))
        header = draw.randrange(min(64, len(contents)))
        if kind == 0:
            del contents[place:]
        elif kind == 1:
            contents[place] ^= 1 << draw.randrange(8)
        elif kind == 2:
            contents[header] = draw.choice([0, 1, 2, 127, 128, 254, 255, draw.randrange(256)])
        elif kind == 3:
            width = draw.choice([2, 4])
            value = draw.choice([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 10_000, 100_000]) % 256**width
            contents[header : header + width] = value.to_bytes(width, draw.choice(["big", "little"]))
        elif kind == 4:
            other = draw.randrange(len(contents))
            length = draw.randrange(1, 40)
            one, two = contents[place : place + length], contents[other : other + length]
            contents[place : place + length], contents[other : other + length] = two, one
        elif kind == 5:
            contents[place:place] = contents[header : header + draw.randrange(1, 64)]
        else:
            del contents[place : place + draw.randrange(1, 40)]
        contents = bytes(contents)
        if form == "PNG" and draw.random() < 0.8:
            contents = _with_sums(contents)
    return contents


def _with_sums(contents):
    """A PNG whose chunks have the sums that belong to them, so that its decoder does not stop there."""
    found, place = contents[:8], 8
    while place + 12 <= len(contents):
        length = int.from_bytes(contents[place : place + 4], "big")
        if place + 12 + length > len(contents):
            break
        body = contents[place + 4 : place + 8 + length]
        found += contents[place : place + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        place += 12 + length
    return found + contents[place:]


def decoder():
    """Decodes the bytes of a file, in a graph, which takes seconds to make."""
    import tensorflow as tf

    from keras_mae.data import Decoding
    from keras_mae.data.decoding import decode_file

    return tf.function(
        lambda contents: decode_file(contents, 3, decoding=Decoding(max_pixels=100_000_000)),
        input_signature=[tf.TensorSpec((), tf.string)],
    )


def limit_data():
    """From here on this process may take 2 GiB more."""
    with open("/proc/self/status") as file:
        used = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + _LIMIT,) * 2)


def run(decode, count, form, seed=0):
    """Decodes so many damaged files of a format; what came of it."""
    import tensorflow as tf
    from PIL import Image

    from tests.data.formats import by_pillow, files

    Image.MAX_IMAGE_PIXELS = 10**6
    sound = [contents for name, contents in files().items() if name.startswith(form)]
    for contents in sound:
        decode(contents)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit_data()
    draw = random.Random(f"{form} {seed}")
    result = {"files": 0, "decoded": 0, "both": 0, "different": [], "slow": [], "slowest": 0.0}
    for number in range(count):
        contents = mutated(draw.choice(sound), form, draw)
        with open(f"/tmp/fuzzed-{form}-{seed}", "wb") as file:
            file.write(contents)  # what a crash leaves behind
        begin = time.perf_counter()
        try:
            found = decode(contents).numpy()
        except tf.errors.OpError:
            found = None
        seconds = time.perf_counter() - begin
        result["files"] += 1
        result["slowest"] = max(result["slowest"], round(seconds, 2))
        if seconds > _SLOW:
            result["slow"].append(number)
        if found is None:
            continue
        result["decoded"] += 1
        try:
            expected = by_pillow(contents, 3)
        except Exception:
            continue
        result["both"] += 1
        if found.shape != expected.shape or (np.abs(found.astype(int) - expected) > 1).any():
            result["different"].append(number)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**result, "grown_MiB": (peak - before) // 1024}


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of Pillow, about what it is given
    print("RESULT", json.dumps(run(decoder(), int(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if sys.argv[3:] else 0)))
