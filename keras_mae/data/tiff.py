"""TIFF files, read with TensorFlow's operations only: the same in a worker of tf.data and in an exported model.

Reference: TIFF revision 6.0 (Adobe, 1992).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from keras_mae.data import tiff_header as tag
from keras_mae.data.file_bytes import checked, named, within_limit
from keras_mae.data.orientation import upright, valid_orientation
from keras_mae.data.rare_branch import rarely, traced_once
from keras_mae.data.tiff_colours import scaled, to_colours
from keras_mae.data.tiff_compression import JPEG, NAMES, READ
from keras_mae.data.tiff_header import Directory
from keras_mae.data.tiff_samples import read_bytes, samples_of

_DEPTHS = (1, 2, 4, 8, 12, 16)
_FORMATS = {2: "signed integers", 3: "floats", 4: "undefined", 5: "complex integers", 6: "complex floats"}


def decode_tiff(contents, channels, colours: bool, dtype: str, max_pixels: int) -> tf.Tensor:
    """Decodes the first page of a TIFF of at most `max_pixels`, upright.

    For 1 or 3 channels these are the colours that Pillow shows; for other numbers the file's own samples, or its pages
    if each has one sample and there are as many as channels.

    Args:
        contents: string scalar, the file's bytes.
        channels: the number that is asked for, int32 scalar.
        colours: whether it is 1 or 3.
        dtype: `"uint8"` or `"uint16"`.

    Returns:
        `dtype` `(H, W, C)`: for colours gray, gray and alpha, RGB, or RGB and alpha, else any.
    """
    read = _page_reader(colours, dtype, max_pixels)
    first = Directory(contents)
    if colours:
        return read(contents, first.state, channels)
    pages = _pages(contents, first, channels + 1)

    def stacked():
        plane = lambda begin: read(contents, Directory(contents, begin).state, channels)[..., 0]  # noqa: E731
        planes = tf.map_fn(plane, pages, parallel_iterations=1, fn_output_signature=tf.TensorSpec((None, None), dtype))
        return tf.transpose(planes, [1, 2, 0])

    of_pages = (first.one(tag.SAMPLES) == 1) & (tf.size(pages) == channels)
    image = tf.cond(of_pages, rarely(stacked), lambda: read(contents, first.state, channels))
    return tf.ensure_shape(image, (None, None, None))


def _pages(contents, first: Directory, most: int) -> tf.Tensor:
    """Finds where the directories of the first pages begin, of at most `most`: int64 `(n,)`."""

    def step(found, following):
        return tf.concat([found, [following]], axis=0), Directory(contents, following).following

    return tf.while_loop(
        lambda found, following: (following > 0) & (tf.size(found) < most),
        step,
        (first.begin[None], first.following),
        shape_invariants=(tf.TensorShape([None]), tf.TensorShape([])),
    )[0]


@functools.cache
def _page_reader(colours: bool, dtype: str, max_pixels: int) -> Callable:
    """Returns a function from a file, the state of a `Directory` and the channels asked for to a page's pixels."""

    @traced_once(tf.TensorSpec((), tf.string), tag.STATE, tf.TensorSpec((), tf.int32))
    def read(contents, state, channels):
        page = Directory(contents, state=state)
        rows, layout = _bytes_reader(max_pixels)(contents, state)
        image = samples_of(rows, layout, page, dtype)
        image = to_colours(image, page, channels) if colours else scaled(image, page.one(tag.BITS))
        return upright(image, valid_orientation(tf.cast(page.one(tag.ORIENTATION), tf.int32)))

    return read


@functools.cache
def _bytes_reader(max_pixels: int) -> Callable:
    """Returns `read_bytes` as a function of a file and the state of a `Directory`, which it checks first."""

    @traced_once(tf.TensorSpec((), tf.string), tag.STATE)
    def read(contents, state):
        page = Directory(contents, state=state)
        width, height, samples = page.one(tag.WIDTH), page.one(tag.HEIGHT), page.one(tag.SAMPLES)
        # no tensor may be made of these sizes before they are checked
        shape = within_limit(tf.stack([height, width, samples]), height, width, max_pixels)
        shape = checked(shape, *_conditions(page, samples, page.one(tag.BITS), 4 * max_pixels))
        return read_bytes(contents, page, shape, 4 * max_pixels)

    return read


def _conditions(page: Directory, samples, depth, max_levels: int) -> list[tuple]:
    """Returns the conditions under which a page can be read, for `checked`."""
    compression, predictor = page.one(tag.COMPRESSION), page.one(tag.PREDICTOR)
    all_depths, formats = page.all(tag.BITS, 2**16), page.all(tag.SAMPLE_FORMAT, 2**16)
    levels = page.one(tag.WIDTH) * page.one(tag.HEIGHT) * tf.maximum(samples, 4)
    few = (samples >= 1) & (samples <= 2**16) & (levels <= max_levels)
    is_read = tf.reduce_any(compression == READ)
    can_predict = (predictor == 1) | (predictor == 2) & ((depth == 8) | (depth == 16))
    is_jpeg = compression == JPEG
    other_format = tf.reduce_max(tf.concat([formats, [1]], axis=0))
    return [
        (few, f"a TIFF has 1 to 65536 channels and at most {max_levels:,} levels, this one's channels are", samples),
        (is_read, "this compression of TIFF files is not read:", compression, named(compression, NAMES)),
        (other_format == 1, "a TIFF's pixels are unsigned integers, these are", named(other_format, _FORMATS)),
        (tf.reduce_any(depth == _DEPTHS), "a TIFF's pixels have 1, 2, 4, 8, 12 or 16 bits, these have", depth),
        (tf.reduce_all(all_depths == depth), "all channels of a TIFF have as many bits, here", all_depths),
        (can_predict, "a TIFF's predictor is 1, or 2 with 8 or 16 bits, this one is", predictor),
        (~is_jpeg | (depth == 8), "a JPEG in a TIFF has 8 bits, this one", depth),
        (~is_jpeg | (samples == 1) | (samples == 3), "a JPEG in a TIFF has 1 or 3 channels, this one", samples),
    ]
