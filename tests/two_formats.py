"""Decoding of PNG and JPEG alone, or of TIFF as well: its graphs are made, and started, in a fraction of the time."""

import functools

import tensorflow as tf

from keras_mae.data import decoding
from keras_mae.data.file_bytes import begins_with
from keras_mae.data.png import MARK, decode_png
from keras_mae.data.rare_branch import traced_once
from keras_mae.data.tiff import decode_tiff
from keras_mae.export import image_files, signatures


def _only_png(colours, dtype, limit, tiff):
    return lambda contents, channels: decode_png(contents, dtype, limit)


@functools.cache
def _png_or_tiff(colours, dtype, limit, tiff):
    @traced_once(tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int32))
    def decode(contents, channels):
        image = tf.cond(
            begins_with(contents, MARK),
            lambda: decode_png(contents, dtype, limit),
            lambda: decode_tiff(contents, channels, colours, dtype, limit),
        )
        return tf.ensure_shape(image, (None, None, None))

    return decode


# What is traced without the others is not for those who need them
_FILES_DECODERS = {and_tiff: functools.cache(image_files.files_decoder.__wrapped__) for and_tiff in (False, True)}


def patched(patch, and_tiff=False):
    """Leaves the other formats out of what is traced from here on."""
    patch.setattr(decoding, "_other_than_jpeg", _png_or_tiff if and_tiff else _only_png)
    patch.setattr(signatures, "files_decoder", _FILES_DECODERS[and_tiff])
