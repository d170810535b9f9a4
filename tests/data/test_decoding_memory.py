"""Headers that promise more than there is, and damaged files, in one process whose memory is limited."""

import json
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest

from tests.base import run_forked
from tests.data import fuzzed
from tests.data.test_decoding_fuzz import check

DAMAGED = 200
_SCAN = b"\xff\xda\0\x08\1\1\0\0\x3f\0\xff\xd9"


def png(width, height, rows, bits=8, colour=0):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(width, height, data, compression=8, samples=1, bits=8, rows=None, counts=None):
    """One strip."""
    fields = [
        (256, width), (257, height), (258, bits), (259, compression), (262, 1), (273, 200),
        (277, samples), (278, rows or height), (279, len(data) if counts is None else counts),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    head = b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4)
    return head.ljust(200, b"\0") + data


def promising():
    """Files that are refused, small as they are: what would have to be made of them takes gigabytes."""
    packer = zlib.compressobj(9)
    begin = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)  # stands alone, and so may be repeated
    sums = struct.pack(">HH", 2**31 % 65521, 1)  # Adler-32 of so many zeros
    bomb = begin + 127 * again + b"\3\0" + sums  # 2 MB that become 2 GB
    frame = b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0"
    return {
        "PNG of 10 gigapixels": png(100_000, 100_000, b""),
        "PNG of one row": png(2**31 - 1, 1, b""),
        "GIF of 4 gigapixels": b"GIF89a\xff\xff\xff\xff\0\0\0" + frame + b";",
        "GIF with a large frame": b"GIF89a\1\0\1\0\0\0\0" + frame + b";",
        "BMP of 4 gigapixels": b"BM" + struct.pack("<IIIIiiHH24x", 54, 0, 54, 40, 65536, 65536, 1, 24),
        "WebP of 16 thousand squared": b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xff\xff\xff\x0f" + bytes(9),
        "WebP whose canvas is large": b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff",
        "TIFF of 10 gigapixels": tiff(100_000, 100_000, b""),
        "TIFF of many samples": tiff(8000, 8000, b"", samples=65535),
        "TIFF that is a bomb": tiff(100, 100, bomb, rows=100),
        "TIFF whose strip is long": tiff(10_000, 10_000, b"abc", 1, counts=2**32 - 1),
        "TIFF of a wrong depth": tiff(100, 100, b"abc", bits=2**31 - 1),
        "JPEG of 4 gigapixels": b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\xff\xff\1\1\x11\0" + _SCAN,
    }  # fmt: skip


def large():
    """Files of nearly 100 megapixels, and thin ones, that are read."""
    return {
        "PNG of 95 megapixels": (png(9_750, 9_750, bytes(9_751 * 9_750)), 0),
        "TIFF of 95 megapixels": (tiff(9_750, 9_750, zlib.compress(bytes(9_750**2))), 0),
        "PNG of 2 rows": (png(3000, 2, bytes(6002)), 0),
        "PNG of 1 column": (png(1, 900_000, bytes(1_800_000)), 0),
        "PNG of 16 bits, thin": (png(900_000, 1, b"\0" + np.full(900_000, 0x4040, ">u2").tobytes(), 16), 0x40),
    }


def children():
    """What became of them in a process whose data are limited."""
    import tensorflow as tf

    from keras_mae.data.preprocessing import evaluation_transform

    decode = fuzzed.decoder()
    transform = tf.function(
        lambda contents: evaluation_transform(decode(contents), (224, 224, 3)),
        input_signature=[tf.TensorSpec((), tf.string)],
    )
    transform(png(4, 4, bytes(20)))
    small, real = promising(), large()
    damaged = fuzzed.run(decode, DAMAGED, "TIFF")  # the decoder that is all ours; limits the memory
    refused, read = {}, {}
    for name, contents in small.items():
        try:
            transform(contents)
            refused[name] = "read"
        except tf.errors.ResourceExhaustedError:
            refused[name] = "memory"
        except tf.errors.OpError:
            refused[name] = "refused"
    for name, (contents, level) in real.items():
        found = transform(contents).numpy()
        read[name] = bool((found == level).all())
    return {"refused": refused, "read": read, "damaged": damaged}


@pytest.fixture(scope="module")
def result():
    process = run_forked("-m", "tests.data.test_decoding_memory")
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout.partition("RESULT")[2])


@pytest.mark.medium
def test_some_damaged_files(result):
    check(result["damaged"], DAMAGED)


@pytest.mark.medium
def test_memory_is_bounded_whatever_a_header_says(result):
    assert set(result["refused"].values()) - {"read"} == {"refused"}, result
    # the one that holds what it promises, and more
    assert [name for name, what in result["refused"].items() if what == "read"] == ["TIFF that is a bomb"]
    assert result["read"] and all(result["read"].values()), result


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of Pillow, about what it is given
    print("RESULT", json.dumps(children()))
    sys.exit()
