"""Masks: a class number for each pixel of an image, from PNG files and arrays."""

from __future__ import annotations

import dataclasses
import zlib

import tensorflow as tf

from keras_mae.data.file_bytes import begins_with, bytes_at, checked, named, text_at
from keras_mae.data.png import MARK, decode_png
from keras_mae.data.rare_branch import rarely

IGNORED = -1  # the class of a pixel without label, in batches and in what a segmenter takes
_GRAY, _PALETTE = 0, 3
_COLOURS = {2: "RGB", 4: "gray and alpha", 6: "RGB and alpha"}
# A check sum is linear: what changes in it if the colour type, the tenth byte of the header, changes
_CHANGE = zlib.crc32(b"IHDR" + bytes(9) + bytes([_PALETTE]) + bytes(3)) ^ zlib.crc32(b"IHDR" + bytes(13))
_BYTES = [bytes([level]) for level in range(256)]


@dataclasses.dataclass(frozen=True)
class Masks:
    """What the numbers in masks mean.

    Attributes:
        ignore_index: the number of a pixel without label; None if every number is a class.
        reduce_zero_label: whether 0, too, is a pixel without label, and the classes are numbered from 1, as in ADE20K.
        num_classes: a mask with a number beyond the classes is a corrupt one; None takes every number for a class.
    """

    ignore_index: int | None = 255
    reduce_zero_label: bool = False
    num_classes: int | None = None

    def classes(self, numbers) -> tf.Tensor:
        """Turns the numbers of a mask, integers `(H, W)`, into classes: int32 `(H, W)`, `IGNORED` without label.

        Raises:
            tf.errors.InvalidArgumentError: for a number that is neither a class nor to be ignored.
        """
        classes = tf.cast(numbers, tf.int32)
        ignored = tf.zeros_like(classes, tf.bool)
        if self.ignore_index is not None:
            ignored |= classes == self.ignore_index
        if self.reduce_zero_label:
            ignored |= classes == 0
            classes -= 1
        classes = tf.where(ignored, IGNORED, classes)
        if self.num_classes is None:
            return classes
        # whatever lies below zero and is not ignored came from an array of signed numbers
        wrong = (classes >= self.num_classes) | ((classes < 0) & ~ignored)
        such = tf.reduce_max(tf.where(wrong, tf.cast(numbers, tf.int32), tf.int32.min))
        text = f"a mask of {self.num_classes} classes holds the number"
        return checked(classes, (~tf.reduce_any(wrong), text, such))

    def decode(self, contents, max_pixels: int) -> tf.Tensor:
        """Decodes a mask file, see `decode_mask`, to classes: int32 `(H, W)`, `IGNORED` without label."""
        return self.classes(decode_mask(contents, max_pixels))


def decode_mask(contents, max_pixels: int) -> tf.Tensor:
    """Decodes a PNG of gray levels or of a palette, of 1 to 16 bits, to the numbers that it stores.

    Of a palette that is the index of a colour, not the colour; of 1, 2 and 4 bits the number itself, where a picture
    would be scaled to 255. TensorFlow replaces indices by their colours, so the header of such a file is changed to
    that of gray levels, whose pixels are stored alike.

    Args:
        contents: string scalar, the file's bytes.
        max_pixels: of a larger mask, none is decoded.

    Returns:
        int32 `(H, W)`.

    Raises:
        tf.errors.OpError: if the bytes are not such a PNG, or have too many pixels.

    Reference: ISO/IEC 15948 (PNG), sections 11.2.2 and annex D (cyclic redundancy code).
    """
    contents = checked(contents, (begins_with(contents, MARK), "a mask is a PNG of gray levels or of a palette"))
    bits, colours = tf.unstack(bytes_at(contents, 24, 2))
    known = (colours == _GRAY) | (colours == _PALETTE)
    text = "a mask is a PNG of gray levels or of a palette, whose numbers are classes; this one is"
    contents = checked(contents, (known, text, named(colours, _COLOURS)))
    contents = tf.cond(colours == _PALETTE, rarely(lambda: _as_gray(contents)), lambda: contents)
    levels = tf.cast(decode_png(contents, "uint16", max_pixels)[..., 0], tf.int32)  # scaled to 65535
    return levels // (65535 // (tf.bitwise.left_shift(1, bits) - 1))


def _as_gray(contents) -> tf.Tensor:
    """Changes the colour type in a PNG's header, and the header's check sum with it."""
    change = [*_CHANGE.to_bytes(4, "big")]
    check_sum = tf.bitwise.bitwise_xor(bytes_at(contents, 29, 4), tf.constant(change, tf.int32))
    parts = [
        text_at(contents, 0, 25),
        _BYTES[_GRAY],
        text_at(contents, 26, 3),
        tf.strings.reduce_join(tf.gather(_BYTES, check_sum)),
        text_at(contents, 33, tf.strings.length(contents)),
    ]
    return tf.strings.join(parts)
