"""EXIF orientation: found as Pillow finds it, and turned as Pillow turns it."""

import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from keras_mae.data import decode_image
from keras_mae.data.orientation import orientation, stored_window, upright
from tests.drawn import as_image, drawn, encoded

find = tf.function(orientation, input_signature=[tf.TensorSpec((), tf.string)])
SIZE = (24, 40)


def photograph(noted, endian="<", before=b""):
    """A JPEG with EXIF data, behind other segments; `before` is put in front of them."""
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model", noted
    file = encoded(as_image(drawn(*SIZE)), "JPEG", exif=exif.tobytes(), comment=b"a comment", subsampling=0)
    return file[:2] + before + file[2:]


def segment(marker, contents):
    return bytes([0xFF, marker]) + (len(contents) + 2).to_bytes(2, "big") + contents


@pytest.mark.medium
@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("noted", range(10))
def test_is_read_and_turned_like_pillow(noted, endian):
    for before in (b"", segment(0xE0, b"JFIF\0" + bytes(9)), segment(0xE2, bytes(300)) + segment(0xE1, b"http://ns")):
        contents = photograph(noted, endian, before)
        assert int(find(contents)) == (noted if 1 <= noted <= 8 else 1)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(contents))))
        np.testing.assert_array_equal(decode_image(contents, 3), expected)
    assert expected.shape[:2] == (SIZE[::-1] if 5 <= noted <= 8 else SIZE)


def test_files_without_it_are_upright():
    for form in ("JPEG", "PNG", "GIF", "BMP"):
        assert int(find(encoded(as_image(drawn(*SIZE)), form))) == 1


@pytest.mark.medium
@given(cut=st.integers(0, 400), place=st.integers(2, 120), value=st.integers(0, 255))
def test_damaged_files_give_some_orientation_and_no_error(cut, place, value):
    whole = photograph(6)
    damaged = whole[:place] + bytes([value]) + whole[place + 1 :]
    for contents in (whole[:cut], damaged, damaged[:cut]):
        assert 1 <= int(find(contents)) <= 8


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # Pillow's, of what is damaged
@pytest.mark.parametrize("endian", "<>")
def test_damaged_fields_are_read_like_pillow(endian):
    """A field that is too large is skipped, and nothing is read behind one whose value lies outside of the data."""
    whole = photograph(6, endian)
    begin = whole.index(b"Exif\0\0") + 6
    found = set()
    for place in range(begin + 8, begin + 48):  # the number of fields, and the three fields
        for value in (0, 1, 4, 8, 9, 64, 130, 255):
            contents = whole[:place] + bytes([value]) + whole[place + 1 :]
            noted = Image.open(io.BytesIO(contents)).getexif().get(0x0112, 1)
            found.add((int(find(contents)), noted if noted in range(1, 9) else 1, place - begin if noted != 6 else 0))
    assert len(found) > 10 and not [(ours, pillows, place) for ours, pillows, place in found if ours != pillows]


@pytest.mark.parametrize("noted", range(1, 9))
def test_a_window_of_the_upright_image_is_found_in_the_stored_one(noted):
    stored = drawn(*SIZE)
    whole = upright(tf.constant(stored), tf.constant(noted)).numpy()
    top, left, height, width = 3, 5, 8, 11
    window = stored_window(tf.constant([top, left, height, width]), tf.constant(SIZE), tf.constant(noted)).numpy()
    part = stored[window[0] : window[0] + window[2], window[1] : window[1] + window[3]]
    turned = upright(tf.constant(part), tf.constant(noted))
    np.testing.assert_array_equal(turned, whole[top : top + height, left : left + width])
