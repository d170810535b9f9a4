"""Files of more bits and channels, TIFF, and the crop of a JPEG that is decoded alone."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mae.data import Augmentation, Decoding, random_resized_crop
from keras_mae.data.augmentation import RATIO, crop_draws, crop_window
from keras_mae.data.decoding import decode_and_crop, decode_file, decode_image
from keras_mae.data.preprocessing import resize_at_once
from keras_mae.example_seed import ExampleSeed
from tests.data.formats import SIZE, levels16, tiff
from tests.data.test_orientation import photograph
from tests.drawn import as_image, drawn, encoded


def png16(pixels):
    return tf.io.encode_png(pixels).numpy()


@pytest.mark.parametrize(
    ("channels", "dtype"),
    [
        (1, "uint8"),
        (3, "uint16"),
        *(pytest.param(*each, marks=pytest.mark.medium) for each in ((2, "uint16"), (4, "uint8"), (6, "uint16"))),
        *(pytest.param(channels, "uint8", marks=pytest.mark.slow) for channels in (2, 3, 6)),
        *(pytest.param(channels, "uint16", marks=pytest.mark.slow) for channels in (1, 4)),
    ],
)
def test_tiff_of_any_channels_interleaved_and_in_planes(channels, dtype):
    pixels = levels16(channels) if dtype == "uint16" else drawn(*SIZE, channels)
    contig = "contig" if channels > 1 else None
    forms = [
        tiff(pixels, photometric="minisblack", planarconfig=contig),
        tiff(pixels, photometric="minisblack", planarconfig=contig, compression="zlib"),
        tiff(pixels, photometric="minisblack", planarconfig=contig, compression="lzw"),
    ]
    if channels > 1:
        planes = pixels.transpose(2, 0, 1)
        forms.append(tiff(planes, photometric="minisblack", planarconfig="separate"))
    if channels not in (1, 3):
        forms.append(tiff(planes, photometric="minisblack"))  # a page a channel
    for contents in forms:
        np.testing.assert_array_equal(decode_file(contents, channels, dtype), pixels)


def test_tiff_and_png_of_16_bits_as_8_and_the_other_way_round():
    pixels = levels16(3)
    for contents in (tiff(pixels, photometric="rgb"), png16(pixels)):
        np.testing.assert_array_equal(decode_file(contents, 3, "uint16"), pixels)
        np.testing.assert_array_equal(decode_file(contents, 3, "uint8"), pixels >> 8)
    pixels = drawn(*SIZE)
    for contents in (tiff(pixels, photometric="rgb"), *(encoded(as_image(pixels), form) for form in ("PNG", "BMP"))):
        np.testing.assert_array_equal(decode_file(contents, 3, "uint16"), pixels.astype("uint16") * 257)


def test_gray_and_colour_of_16_bits():
    gray = levels16(1)
    np.testing.assert_array_equal(decode_file(png16(gray), 3, "uint16"), np.repeat(gray, 3, axis=-1))
    colour = levels16(3)
    luma = np.round(colour @ np.array([0.299, 0.587, 0.114]))
    np.testing.assert_allclose(decode_file(png16(colour), 1, "uint16")[..., 0], luma, atol=1)


@pytest.mark.parametrize("channels", [2, 4])
def test_png_with_alpha_as_a_channel(channels):
    pixels = drawn(*SIZE, channels)
    np.testing.assert_array_equal(decode_file(encoded(as_image(pixels), "PNG"), channels), pixels)
    pixels = levels16(channels)
    np.testing.assert_array_equal(decode_file(png16(pixels), channels, "uint16"), pixels)


@pytest.mark.parametrize(
    ("contents", "channels"),
    [
        (encoded(as_image(drawn(*SIZE)), "PNG"), 4),
        (encoded(as_image(drawn(*SIZE)), "JPEG"), 4),
        (tiff(drawn(*SIZE, 6), photometric="minisblack", planarconfig="contig"), 3),
        (tiff(drawn(*SIZE, 6), photometric="minisblack", planarconfig="contig"), 5),
        (tiff(drawn(*SIZE).astype("float32"), photometric="rgb"), 3),
        (tiff(drawn(*SIZE))[:300], 3),
        (b"II*\0 and no more", 3),
        (b"", 3),
    ],
)
def test_what_has_other_channels_or_types_or_is_damaged_is_refused(contents, channels):
    with pytest.raises(tf.errors.OpError):
        decode_file(contents, channels)


@pytest.mark.medium
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("noted", [1, 3, 6])
def test_the_crop_of_a_jpeg_is_the_crop_of_the_whole(noted, subsampling):
    exif = Image.Exif()
    exif[0x0112] = noted
    contents = encoded(as_image(drawn(150, 210)), "JPEG", exif=exif.tobytes(), subsampling=subsampling)
    whole = decode_image(contents, 3)
    for number in range(12):
        draws = crop_draws(ExampleSeed.of(3, 0, number))
        window_for = lambda size: crop_window(size, draws, (0.2, 1.0), RATIO)  # noqa: B023, E731
        top, left, height, width = window_for(tf.shape(whole)[:2]).numpy()
        expected = resize_at_once(whole[top : top + height, left : left + width], (64, 56))
        found = decode_and_crop(contents, 3, (64, 56), window_for)
        difference = np.abs(found.numpy().astype(int) - expected.numpy())
        if subsampling:  # colour is interpolated between samples, of which the crop lacks those just outside
            assert difference.max() <= 10 and (difference > 0).mean() < 0.02 and not difference[6:-6, 6:-6].any()
        else:
            assert not difference.any()


def test_the_crop_of_a_large_jpeg_is_decoded_smaller_and_hardly_differs():
    """A smooth picture without noise: the two ways of shrinking it may differ by the place, under half a pixel."""
    y, x = np.mgrid[0:900, 0:1200] / 200
    smooth = np.stack([np.sin(x + y), np.cos(2 * x), np.sin(x * y / 3)], axis=-1) * 100 + 128
    contents = encoded(as_image(smooth.astype("uint8")), "JPEG", quality=95)
    whole = decode_image(contents, 3)
    for window in ([100, 200, 700, 800], [0, 0, 900, 1200], [333, 417, 516, 735], [3, 5, 300, 256]):
        top, left, height, width = window
        expected = resize_at_once(whole[top : top + height, left : left + width], (64, 64)).numpy().astype(int)
        found = decode_and_crop(contents, 3, (64, 64), lambda _: tf.constant(window)).numpy().astype(int)  # noqa: B023
        assert np.abs(found - expected).mean() < 1.0 and np.abs(found - expected).max() <= 12


@pytest.mark.medium
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "turned", "TIFF"])
def test_augmenting_a_file_is_augmenting_its_image(form, channels):
    contents = {
        "turned": photograph(8),
        "TIFF": tiff(drawn(*SIZE), photometric="rgb"),
        "JPEG": encoded(as_image(drawn(33, 41)), "JPEG", subsampling=0),  # no colour comes from outside of the crop
    }.get(form) or encoded(as_image(drawn(33, 41)), form)
    augmentation = Augmentation()
    for number in range(6):
        seed = ExampleSeed.of(1, 2, number)
        expected = augmentation(decode_file(contents, channels), (16, 12, channels), seed)
        np.testing.assert_array_equal(augmentation.decode(contents, (16, 12, channels), seed), expected)


def test_a_gray_jpeg_as_three_channels():
    contents = encoded(as_image(drawn(40, 50, 1)), "JPEG")
    draws = crop_draws(ExampleSeed.of(0, 0))
    found = decode_and_crop(contents, 3, (8, 8), lambda size: crop_window(size, draws, (0.2, 1.0), RATIO))
    np.testing.assert_array_equal(found, random_resized_crop(decode_image(contents, 3), (8, 8), draws))


@pytest.mark.medium
def test_a_graph_of_both_depths_holds_what_they_share_once():
    """An export reads files of 8 and of 16 bits; its size is what loading it takes."""

    def size(*dtypes, tiff=True):
        decode = tf.function(
            lambda contents: [decode_file(contents, 3, dtype, Decoding(tiff=tiff)) for dtype in dtypes],
            input_signature=[tf.TensorSpec((), tf.string)],
            autograph=False,
        )
        graph = decode.get_concrete_function().graph.as_graph_def()
        return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

    assert size("uint8", tiff=False) < 0.6 * size("uint8")  # without the largest decoder
    assert size("uint8", "uint16") < 1.4 * size("uint8") < 10_000  # 7,000 and 5,500 when this was written
