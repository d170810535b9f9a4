"""Decoding of PNG and JPEG alone: its graphs are made, and started, in a fraction of the time."""

import functools

import tensorflow as tf

from keras_mae.data import decoding
from keras_mae.data.file_bytes import checked


def _refused(dtype):
    return checked(tf.zeros((0, 0, 0), dtype), (False, "this test reads PNG and JPEG only"))


def _of_8_bits(contents, limit):
    return _refused("uint8")


def _tiff(contents, channels, colours, dtype, limit):
    return _refused(dtype)


_DECODERS = {"decode_gif": _of_8_bits, "decode_bmp": _of_8_bits, "decode_webp": _of_8_bits, "decode_tiff": _tiff}
_other_than_jpeg = functools.cache(decoding._other_than_jpeg.__wrapped__)  # traced once a process, as the whole one is


def patched(patch):
    """Leaves the other formats out of what is traced from here on."""
    patch.setattr(decoding, "_other_than_jpeg", _other_than_jpeg)
    for name, decoder in _DECODERS.items():
        patch.setattr(decoding, name, decoder)
