"""Masks: the numbers that PNG files store, as Pillow reads them, and what they mean."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_mae.data.masks import IGNORED, Masks, decode_mask
from tests.data.scenes import palette_png

LIMIT = 10**6


def png(image, **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, "PNG", **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def in_graph():
    return tf.function(lambda contents: decode_mask(contents, LIMIT), input_signature=[tf.TensorSpec((), tf.string)])


def numbers(classes, shape=(13, 17), dtype="uint8"):
    return np.random.default_rng(0).integers(0, classes, shape).astype(dtype)


@pytest.mark.parametrize("classes", [2, 4, 16, 256])
@pytest.mark.parametrize("transparency", [None, 1, bytes([0, 255]), bytes(range(200))])
def test_a_palette_gives_its_indices(classes, transparency, in_graph):
    """Of 1, 2, 4 and 8 bits; a transparent colour changes nothing."""
    mask = numbers(classes)
    contents = png(
        palette_png(mask), bits=int(np.log2(classes)), **({"transparency": transparency} if transparency else {})
    )
    assert contents[24] == np.log2(classes) and contents[25] == 3
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(contents))), mask)
    for decoded in (in_graph(contents), decode_mask(contents, LIMIT)):
        assert decoded.dtype == tf.int32
        np.testing.assert_array_equal(decoded, mask)


def test_gray_levels_of_1_8_and_16_bits(in_graph):
    for mask in (numbers(2, dtype="bool"), numbers(256), numbers(65536, dtype="uint16")):
        np.testing.assert_array_equal(in_graph(png(mask)), mask)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31), st.booleans())
def test_any_size(in_graph, height, width, seed, as_palette):
    mask = np.random.default_rng(seed).integers(0, 256, (height, width)).astype("uint8")
    np.testing.assert_array_equal(in_graph(png(palette_png(mask) if as_palette else mask)), mask)


def interlaced(mask):
    """A PNG with a palette in the seven passes of Adam7, which Pillow does not write."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [mask[top::down, left::right] for top, left, down, right in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    header = struct.pack(">IIBBBBB", mask.shape[1], mask.shape[0], 8, 3, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"PLTE", bytes(range(256)) * 3), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    written = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


@pytest.mark.parametrize("shape", [(13, 17), (1, 1), (3, 9)])
def test_an_interlaced_palette(shape, in_graph):
    mask = numbers(256, shape)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(interlaced(mask)))), mask)
    np.testing.assert_array_equal(in_graph(interlaced(mask)), mask)


@pytest.mark.parametrize(
    "contents, message",
    [
        (b"", "a mask is a PNG of gray levels or of a palette"),
        (png(numbers(255, (4, 5, 3))), "whose numbers are classes; this one is.*RGB"),
        (png(numbers(255, (4, 5, 4))), "RGB and alpha"),
        (png(numbers(255, (4, 5, 2))), "gray and alpha"),
        (png(numbers(255, (2000, 1000))), "an image has 1 to 1,000,000 pixels"),
        (png(palette_png(numbers(9)))[:-40], "PNG"),
        (b"\xff\xd8\xff" + bytes(50), "a mask is a PNG"),
    ],
)
def test_what_is_no_mask(contents, message, in_graph):
    with pytest.raises(tf.errors.OpError, match=message):
        in_graph(contents)


def test_a_damaged_header_stays_damaged(in_graph):
    """The check sum is changed, and not made anew."""
    contents = bytearray(png(palette_png(numbers(9))))
    contents[27] ^= 1
    with pytest.raises(tf.errors.OpError):
        in_graph(bytes(contents))


def test_what_numbers_mean():
    mask = np.array([[0, 1, 2], [254, 255, 3]])
    for masks, classes in (
        (Masks(), [[0, 1, 2], [254, IGNORED, 3]]),
        (Masks(None), [[0, 1, 2], [254, 255, 3]]),
        (Masks(3), [[0, 1, 2], [254, 255, IGNORED]]),
        (Masks(255, reduce_zero_label=True), [[IGNORED, 0, 1], [253, IGNORED, 2]]),
        (Masks(2, reduce_zero_label=True), [[IGNORED, 0, IGNORED], [253, 254, 2]]),
        (Masks(num_classes=255), [[0, 1, 2], [254, IGNORED, 3]]),
    ):
        np.testing.assert_array_equal(masks.classes(mask), classes)
    np.testing.assert_array_equal(Masks(-1, num_classes=3).classes([[-1, 2]]), [[IGNORED, 2]])


@pytest.mark.parametrize(
    "mask, masks, said",
    [([[0, 3]], Masks(num_classes=3), "3 classes holds the number.*3"),
     ([[0, -2]], Masks(num_classes=3), "3 classes holds the number.*-2"),
     ([[0, 4]], Masks(reduce_zero_label=True, num_classes=3), "3 classes holds the number.*4")],
)  # fmt: skip
def test_a_number_beyond_the_classes(mask, masks, said):
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        masks.classes(mask)
