"""Decompresses the parts of a TIFF file inside a graph.

Reference: TIFF revision 6.0 (Adobe, 1992), sections 9 and 13; supplement 2 (Adobe, 2002) for Deflate.
"""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data.file_bytes import checked
from keras_mae.data.lzw import decode_lzw
from keras_mae.data.rare_branch import rarely, traced_once

NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACK_BITS = 1, 5, 7, 8, 32946, 32773
READ = (NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACK_BITS)
# The names of those that are refused
NAMES = {
    2: "CCITT RLE",
    3: "CCITT Group 3 fax",
    4: "CCITT Group 4 fax",
    6: "old JPEG",
    32771: "16-bit padding",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv 24",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}
_LARGEST = 64 * 2**20  # bytes of one part, or of several that are decoded together
_RATIO = 1032  # bytes that a byte of Deflate becomes at most


def decompress(contents, compression, begins, lengths, expected, reverse) -> tf.Tensor:
    """Decompresses parts of a file and joins them.

    Args:
        contents: string scalar, the file's bytes.
        compression: int64 scalar, one of `READ` but JPEG.
        begins, lengths: of the parts, in bytes: int32 `(n,)`.
        expected: the number of bytes that each part holds, int32 `(n,)`; further ones are left out.
        reverse: bool scalar, whether each byte's bits are in reverse order.

    Returns:
        uint8 `(sum(expected),)`.

    Raises:
        tf.errors.OpError: if a part holds fewer, or is damaged.
    """

    def none():
        # bytes behind the rows are no part of the image, whatever its length says
        found = tf.io.decode_raw(tf.strings.reduce_join(tf.strings.substr(contents, begins, expected)), tf.uint8)
        found = checked(found, (tf.size(found) == tf.reduce_sum(expected), "a TIFF ends early"))
        return _reversed(found, reverse)

    def in_groups():
        """Decodes some parts at a time, as the decoders need many times the memory of their result."""
        together = tf.maximum(_LARGEST // 4 // tf.maximum(tf.reduce_max(expected), 1), 1)
        groups = (tf.size(expected) + together - 1) // together
        results = tf.TensorArray(tf.uint8, groups, infer_shape=False, element_shape=(None,))

        def step(group, results):
            some = slice(group * together, (group + 1) * together)
            places, sizes, wanted = tf.unstack(tf.stack([begins, lengths, expected])[:, some])
            data = tf.strings.reduce_join(tf.strings.substr(contents, places, sizes))
            starts = tf.cumsum(sizes, exclusive=True)
            data = _reversed(tf.io.decode_raw(data, tf.uint8), reverse)
            parts = data, starts, sizes, wanted
            found = tf.cond(compression == LZW, lambda: _decode_lzw(*parts), lambda: _decode_pack_bits(*parts))
            return group + 1, results.write(group, found)

        text = f"a TIFF's strips or tiles of LZW or PackBits hold at most {_LARGEST} bytes each, one here"
        begin = checked(tf.constant(0), (tf.reduce_max(expected) <= _LARGEST, text, tf.reduce_max(expected)))
        return tf.while_loop(lambda group, _: group < groups, step, (begin, results), parallel_iterations=1)[1].concat()

    def deflate():
        straight = checked(contents, (~reverse, "a TIFF's Deflate data with reversed bits are not read"))
        return _inflate(straight, begins, lengths, expected)

    number = tf.argmax([compression == NONE, (compression == LZW) | (compression == PACK_BITS), True])
    return tf.switch_case(tf.cast(number, tf.int32), [rarely(none), rarely(in_groups), rarely(deflate)])


@traced_once(tf.TensorSpec([None], tf.uint8), *[tf.TensorSpec([None], tf.int32)] * 3)
def _decode_lzw(data, begins, lengths, expected) -> tf.Tensor:
    old = (data[0] == 0) & (data[1] & 1 == 1)
    data = checked(data, (~old, "a TIFF's LZW data of the kind before 1992, lowest bits first, are not read"))
    return decode_lzw(data, begins, lengths, expected)


@traced_once(tf.TensorSpec([None], tf.uint8), *[tf.TensorSpec([None], tf.int32)] * 3)
def _decode_pack_bits(data, begins, lengths, expected) -> tf.Tensor:
    """Decodes runs: a byte n, and n + 1 bytes (n < 128) or one that is repeated 257 - n times; 128 is skipped."""
    total = tf.size(data)
    control = tf.cast(data, tf.int32)
    length = tf.where(control < 128, control + 2, tf.where(control == 128, 1, 2))
    part = tf.repeat(tf.range(tf.size(begins)), lengths)
    following = tf.range(total) + length
    following = tf.where(following >= tf.gather(begins + lengths, part), total, following)
    following = tf.pad(following, [[0, 1]], constant_values=total)  # behind the end there is only the end

    def step(found, following, _):
        further = tf.gather(following, found)
        more = tf.boolean_mask(further, further < total)
        return tf.concat([found, more], axis=0), tf.gather(following, following), tf.size(more) > 0

    invariants = (tf.TensorShape([None]), tf.TensorShape([None]), tf.TensorShape([]))
    begun = (tf.boolean_mask(begins, lengths > 0), following, True)
    places = tf.while_loop(lambda *state: state[2], step, begun, shape_invariants=invariants, parallel_iterations=1)[0]
    places = tf.sort(places)
    control, part = tf.gather(control, places), tf.gather(part, places)
    counts = tf.where(control < 128, control + 1, tf.where(control == 128, 0, 257 - control))
    totals = tf.math.unsorted_segment_sum(counts, part, tf.size(begins))
    counts = checked(counts, (tf.reduce_all(totals >= expected), "a TIFF's PackBits data end early"))
    begin = tf.cumsum(counts, exclusive=True)
    order = tf.range(tf.reduce_sum(counts))
    inside = order - tf.repeat(begin, counts)
    source = tf.repeat(places, counts) + 1 + tf.where(tf.repeat(control, counts) < 128, inside, 0)
    starts = tf.cumsum(totals, exclusive=True)
    kept = order - tf.repeat(starts, totals) < tf.repeat(expected, totals)
    return tf.gather(data, tf.minimum(tf.boolean_mask(source, kept), total - 1))


def _inflate(contents, begins, lengths, expected) -> tf.Tensor:
    results = tf.TensorArray(tf.string, tf.size(begins), element_shape=())

    def step(part, results):
        length, most = lengths[part], expected[part]
        safe = tf.cast((tf.cast(most, tf.int64) + _LARGEST * 8) // _RATIO, tf.int32)

        def decoded(length):
            return tf.io.decode_compressed(tf.strings.substr(contents, begins[part], length), "ZLIB")

        def in_steps():
            """Decodes ever more of the data until there is enough: a damaged part could take gigabytes."""
            begun = (tf.minimum(safe, length), decoded(tf.minimum(safe, length)))
            more = lambda read, found: (read < length) & (tf.strings.length(found) < most)  # noqa: E731
            further = lambda read, _: (tf.minimum(read + safe, length), decoded(tf.minimum(read + safe, length)))  # noqa: E731
            return tf.while_loop(more, further, begun, parallel_iterations=1)[1]

        found = tf.cond(length <= safe, lambda: decoded(length), rarely(in_steps))
        found = tf.strings.substr(found, 0, most)
        found = checked(found, (tf.strings.length(found) == most, "a TIFF's Deflate data end early"))
        return part + 1, results.write(part, found)

    parts = tf.size(begins)
    results = tf.while_loop(lambda part, _: part < parts, step, (0, results), parallel_iterations=1)[1]
    return tf.io.decode_raw(tf.strings.reduce_join(results.stack()), tf.uint8)


def _reversed(data, reverse) -> tf.Tensor:
    table = tf.constant([int(f"{level:08b}"[::-1], 2) for level in range(256)], tf.uint8)
    return tf.cond(reverse, lambda: tf.gather(table, tf.cast(data, tf.int32)), lambda: data)
