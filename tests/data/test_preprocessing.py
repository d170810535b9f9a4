"""JPEG levels against Pillow; geometry and numbers of the evaluation transform."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mae.data import decode_image, evaluation_transform
from tests.data.formats import MODES, SIZE, by_pillow
from tests.data.test_orientation import photograph
from tests.drawn import as_image, drawn, encoded
from tests.two_formats import patched


@pytest.mark.parametrize("quality", [40, 75, 98])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_jpeg_levels_are_pillows(quality, subsampling):
    """TensorFlow's default DCT differs by up to five levels."""
    contents = encoded(as_image(drawn(75, 101)), "JPEG", quality=quality, subsampling=subsampling)
    np.testing.assert_array_equal(decode_image(contents, 3), by_pillow(contents, 3))
    fast = tf.io.decode_jpeg(contents, dct_method="INTEGER_FAST")
    assert (fast.numpy() != by_pillow(contents, 3)).any()  # so the comparison can tell them apart


@pytest.mark.parametrize("colours", [2, 23, 256])
def test_bmp_with_a_palette_has_the_palettes_colours(colours):
    """TensorFlow's own reader takes the indices for gray levels."""
    contents = encoded(as_image(drawn(9, 31)).quantize(colours), "BMP")
    np.testing.assert_array_equal(decode_image(contents, 3), by_pillow(contents, 3))
    assert len(np.unique(by_pillow(contents, 3).reshape(-1, 3), axis=0)) > 1


def test_sixteen_bit_png_keeps_the_upper_byte():
    levels = (drawn(*SIZE, 1)[..., 0].astype("uint16") << 8) + drawn(*SIZE, 1, seed=1)[..., 0]
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(levels), "PNG"), 1)[..., 0], levels >> 8)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF"])
def test_what_is_no_image_is_refused(form):
    whole = encoded(MODES["RGB"], form)
    for contents in (b"", b"text\n" * 50, whole[:20], whole[: len(whole) // 2]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_image(contents, 3)


def test_channels():
    for channels in (0, 2, 4):
        with pytest.raises(ValueError, match=f"decoded to 1 or 3 channels, got {channels}"):
            decode_image(b"", channels)
    decode = tf.function(decode_image).get_concrete_function(tf.TensorSpec((), tf.string), 3)
    assert decode.structured_outputs.shape.as_list() == [None, None, 3]


def by_pillows_resize(image, image_shape, crop_ratio):
    """The evaluation transform by its definition, with Pillow's bicubic resize of uint8, width first: `(H, W, C)`."""
    height, width, _ = image_shape
    scale = max(height / crop_ratio / image.shape[0], width / crop_ratio / image.shape[1])
    rows, columns = (max(round(old * scale), new) for old, new in zip(image.shape, (height, width)))
    channels = [Image.fromarray(image[..., channel]) for channel in range(image.shape[-1])]
    for new_size in ((columns, len(image)), (columns, rows)):  # at once, Pillow 13 may begin with the height
        channels = [channel.resize(new_size, Image.Resampling.BICUBIC) for channel in channels]
    top, left = (rows - height) // 2, (columns - width) // 2
    return np.stack(channels, axis=-1)[top : top + height, left : left + width]


SIZES = [(60, 90), (90, 60), (33, 33), (16, 16), (7, 5), (1, 1), (2, 3), (1, 50), (50, 1), (200, 31)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("image_shape", "crop_ratio"), [((16, 16, 3), 0.875), ((16, 24, 1), 1.0), ((25, 10, 3), 0.6)])
def test_numbers_are_those_of_pillows_bicubic(size, image_shape, crop_ratio):
    image = drawn(*size, image_shape[-1])
    result = evaluation_transform(image, image_shape, crop_ratio)
    assert result.shape == image_shape and result.dtype == tf.uint8
    apart = np.abs(result.numpy().astype(int) - by_pillows_resize(image, image_shape, crop_ratio))
    # Pillow's filter tables hold 22 bits, and are not float32's: what is almost half is rounded another way
    assert apart.max() <= 1 and (apart > 0).mean() <= 0.05


def test_an_image_of_the_size_is_untouched():
    image = drawn(18, 13)
    np.testing.assert_array_equal(evaluation_transform(image, (18, 13, 3), 1.0), image)


@pytest.mark.parametrize(
    ("size", "image_shape", "crop_ratio", "top", "left"),
    [
        ((16, 30), (16, 16, 3), 1.0, 0, 7),
        ((30, 16), (16, 16, 3), 1.0, 7, 0),
        ((16, 21), (16, 16, 3), 1.0, 0, 2),  # 5 columns too many: 2 go to the left
        ((32, 32), (16, 16, 3), 0.5, 8, 8),
        ((32, 47), (16, 12, 3), 0.5, 8, 17),
    ],
)
def test_takes_the_centre(size, image_shape, crop_ratio, top, left):
    """Where nothing needs to be resized, the result is a part of the image, pixel for pixel."""
    image = drawn(*size)
    expected = image[top : top + image_shape[0], left : left + image_shape[1]]
    np.testing.assert_array_equal(evaluation_transform(image, image_shape, crop_ratio), expected)


def test_224_pixels_out_of_a_shorter_side_of_256():
    image = drawn(256, 300)
    np.testing.assert_array_equal(evaluation_transform(image, (224, 224, 3)), image[16:240, 38:262])


@pytest.mark.parametrize("size", [(2, 3000), (3000, 2), (1, 100_000), (300, 40), (40, 300), (17, 900)])
def test_a_thin_image_is_cut_before_it_is_resized(size):
    """As large as it was resized before, some of these would take gigabytes."""
    image, shape = drawn(*size), (32, 24, 3)
    found = evaluation_transform(image, shape, 0.7).numpy().astype(int)
    scale = max(shape[0] / 0.7 / size[0], shape[1] / 0.7 / size[1])
    scaled = [round(side * scale) for side in size]
    # the source's part that the centre needs, with a margin, by Pillow's resize of a box, width first
    step = [size[axis] / scaled[axis] for axis in (0, 1)]
    begin = [(scaled[axis] - shape[axis]) // 2 * step[axis] for axis in (0, 1)]
    end = [begin[axis] + shape[axis] * step[axis] for axis in (0, 1)]
    margin = [int(3 * max(one, 1)) + 2 for one in step]
    low = [max(int(begin[axis]) - margin[axis], 0) for axis in (0, 1)]
    part = image[low[0] : int(end[0]) + margin[0] + 1, low[1] : int(end[1]) + margin[1] + 1]
    box = (begin[1] - low[1], 0, end[1] - low[1], len(part))
    channels = [Image.fromarray(part[..., c]).resize((shape[1], len(part)), 3, box=box) for c in range(3)]
    box = (0, begin[0] - low[0], shape[1], end[0] - low[0])
    expected = np.stack([np.asarray(one.resize(shape[1::-1], 3, box=box)) for one in channels], axis=-1).astype(int)
    # Pillow reads no pixel outside of the box, where ours goes on into the image
    inner = (slice(8, -8), slice(8, -8))
    assert np.abs(found - expected)[inner].max() <= 2 and (np.abs(found - expected)[inner] > 1).mean() < 0.02


@pytest.mark.medium
def test_same_eagerly_in_tf_data_and_in_a_function(monkeypatch):
    patched(monkeypatch)
    files = [encoded(as_image(drawn(*size)), "PNG") for size in SIZES]
    files += [photograph(noted) for noted in (1, 3, 6)]

    def transform(contents):
        return evaluation_transform(decode_image(contents, 3), (16, 20, 3), 0.8)

    eager = np.stack([transform(contents) for contents in files])
    dataset = tf.data.Dataset.from_tensor_slices(files).map(transform, num_parallel_calls=3)
    np.testing.assert_array_equal(np.stack(list(dataset)), eager)
    function = tf.function(transform, input_signature=[tf.TensorSpec((), tf.string)])
    np.testing.assert_array_equal(np.stack([function(contents) for contents in files]), eager)
    assert len(np.unique(eager, axis=0)) == len(files)


@pytest.mark.parametrize("ratio", [0, -0.5, 1.01])
def test_crop_ratio_out_of_range(ratio):
    with pytest.raises(ValueError, match=r"a crop ratio lies in \(0, 1\], got"):
        evaluation_transform(drawn(4, 4), (4, 4, 3), ratio)
