"""Makes image files smaller, for a cache on a disk that many epochs read."""

from __future__ import annotations

import dataclasses
import struct
import zlib

import tensorflow as tf

from keras_mae.data.decoding import Decoding, decode_file
from keras_mae.data.png import MARK
from keras_mae.data.preprocessing import resize_as_pillow


@dataclasses.dataclass(frozen=True)
class Shrinking:
    """Decodes images, makes them smaller, and stores their levels as they are: PNG without compression.

    To read such a file takes a part of the time of decoding a JPEG of a photograph. Images of gray levels are stored in
    one channel, all others in three.

    Attributes:
        side: pixels of the shorter side; a smaller image keeps its size.
        decoding: how the files are decoded; transparent pixels get its background.
    """

    side: int
    decoding: Decoding = Decoding()

    def __post_init__(self) -> None:
        if self.side < 1:
            raise ValueError(f"shrink is the shorter side in pixels, at least 1, such as shrink=256; got {self.side}")

    def __call__(self, contents, dtype: str) -> tf.Tensor:
        """Returns the smaller image of a file's bytes as a PNG of `dtype`, `uint8` or `uint16`: string scalar.

        The resize is that of the evaluation transform, so that an evaluation at this size finds the same pixels.
        """
        image = decode_file(contents, 3, dtype, self.decoding)
        size = tf.cast(tf.shape(image)[:2], tf.float64)
        factor = self.side / tf.reduce_min(size)
        scaled = tf.cast(tf.round(size * factor), tf.int64)
        image = tf.cond(factor < 1, lambda: resize_as_pillow(image, scaled), lambda: image)
        is_gray = tf.reduce_all(image == image[..., :1])
        return tf.cond(
            is_gray,
            lambda: tf.io.encode_png(image[..., :1], compression=0),
            lambda: tf.io.encode_png(image, compression=0),
        )

    def note(self) -> dict[str, int]:
        """Returns what decides over the pixels, for a file beside them."""
        return {
            "side": self.side,
            "background": self.decoding.background,
            "max_pixels": self.decoding.max_pixels,
        }


def in_one_chunk(png: bytes) -> bytes:
    """Returns the same PNG with its data in one chunk, which `decode_png` reads without a walk through many."""
    kept, data, place = [], [], len(MARK)
    while place + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        if kind == b"IDAT":
            data.append(png[place + 8 : place + 8 + length])
        else:
            kept.append(png[place : place + length + 12])
        place += length + 12
    levels = b"".join(data)
    chunk = struct.pack(">I4s", len(levels), b"IDAT") + levels
    chunk += struct.pack(">I", zlib.crc32(levels, zlib.crc32(b"IDAT")))
    return b"".join([MARK, *kept[:-1], chunk, kept[-1]])
