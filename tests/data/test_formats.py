"""Every format and kind of pixels against Pillow: decoded, in a folder, in evaluation, and in an exported model."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mae.data import CorruptImages, Decoding, evaluation_dataset, evaluation_transform, open_source
from keras_mae.data.decoding import FORMATS, decode_file
from keras_mae.data.shrinking import Shrinking
from keras_mae.export.image_files import files_decoder
from tests.data.formats import MODES, SIZE, by_pillow, files, levels16, tiff
from tests.drawn import as_image, drawn, encoded, write, write_pictures

READ = tf.function(decode_file, reduce_retracing=True)


@pytest.mark.medium
@pytest.mark.parametrize("channels", [1, 3])
def test_decodes_what_pillow_shows(channels):
    wrong = {}
    for name, contents in files().items():
        expected = by_pillow(contents, channels).astype(int)
        found = READ(tf.constant(contents), channels).numpy().astype(int)
        assert len(np.unique(expected)) > 1, name
        # Pillow's luma, and what it lays over a background, are rounded in other places than ours; its CMYK too
        atol = 0 if channels == 3 and not any(word in name for word in ("alpha", "RGBA", "CMYK")) else 1
        if found.shape != expected.shape or np.abs(found - expected).max() > atol:
            wrong[name] = found.shape if found.shape != expected.shape else np.abs(found - expected).max()
    assert not wrong


@pytest.mark.medium
def test_sixteen_bits_are_kept_where_they_are_asked_for():
    pixels = levels16(3)
    for contents in (tiff(pixels, photometric="rgb", compression="lzw"), tf.io.encode_png(pixels).numpy()):
        np.testing.assert_array_equal(READ(tf.constant(contents), 3, "uint16"), pixels)
    for name in (
        "PNG RGB",
        "BMP RGB",
        "GIF palette",
        "WEBP RGB",
        "TIFF RGB",
        "JPEG RGB",
        "TIFF palette",
        "TIFF CMYK, tiff_lzw",
    ):
        found = READ(tf.constant(files()[name]), 3, "uint16").numpy()
        np.testing.assert_allclose(found / 257, by_pillow(files()[name], 3), atol=1, err_msg=name)


@pytest.mark.medium
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "GIF"])
def test_transparent_pixels_show_the_background_and_not_their_hidden_colours(form):
    pixels = drawn(*SIZE, 4)
    pixels[..., 3] = np.where(pixels[..., 3] > 128, 255, 0)
    contents = encoded(as_image(pixels), form, **({"lossless": True, "exact": True} if form == "WEBP" else {}))
    for background in (255, 0, 93):
        found = decode_file(contents, 3, decoding=Decoding(background=background)).numpy()
        assert (found[pixels[..., 3] == 0] == background).all()
        if form != "GIF":
            np.testing.assert_array_equal(found[pixels[..., 3] == 255], pixels[pixels[..., 3] == 255][:, :3])
            np.testing.assert_array_equal(decode_file(contents, 4), pixels)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (tiff(drawn(*SIZE), photometric="rgb", compression="zstd"), "compression.*50000.*Zstandard"),
        (tiff(drawn(*SIZE), photometric="rgb", compression="jpeg2000"), "compression.*34712.*JPEG 2000"),
        (tiff(drawn(*SIZE).astype("float32"), photometric="rgb"), "unsigned integers.*floats"),
        (tiff(drawn(*SIZE).astype("int16"), photometric="rgb"), "unsigned integers.*signed integers"),
        (tiff(drawn(*SIZE).astype("uint32"), photometric="rgb"), "12 or 16 bits.*32"),
        (tiff(drawn(*SIZE), photometric="ycbcr"), "6.*YCbCr"),
        (tiff(levels16(1)[..., 0], photometric="miniswhite"), "16 bits whose 0 is white"),
        (tiff(drawn(*SIZE), photometric="rgb", compression="lzw")[:600], "ends? early|damaged|lacks"),
        (encoded(MODES["black and white"], "TIFF", compression="group4"), "4.*CCITT Group 4"),
        (b"text\n" * 50, "an image is one of JPEG, PNG, BMP, GIF, WebP, TIFF"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_by_name(contents, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_file(contents, 3)


ROWS = [(form, extension) for form, extensions in FORMATS.items() for extension in extensions]


@pytest.mark.medium
def test_folders_evaluation_and_serving_read_the_same_formats(tmp_path):
    """Each file is of another size, and large where its format keeps levels, so that rows cannot be mixed up."""
    shape = (16, 20, 3)
    contents = []
    for number, (form, extension) in enumerate(ROWS):
        image = as_image(drawn(30 + number, 47, seed=number))
        contents.append(
            encoded(image, "WEBP" if form == "WebP" else form, **({"lossless": True} if form == "WebP" else {}))
        )
        write(tmp_path / f"{number}{extension}", contents[-1])
    expected = np.stack([evaluation_transform(by_pillow(one, 3), shape) for one in contents]).astype(int)

    source = open_source(f"folder:{tmp_path}")
    assert source.num_images == len(ROWS)
    np.testing.assert_array_equal(source.image(tf.constant(0, tf.int64), 3), by_pillow(contents[0], 3))
    (evaluated,) = evaluation_dataset(source, shape, len(ROWS))
    served = files_decoder(shape, 0.875)(tf.constant(contents))
    np.testing.assert_array_equal(evaluated, expected)
    np.testing.assert_array_equal(served, expected)


@pytest.mark.medium
def test_a_folder_reads_every_format_under_any_name_but_a_tiff_only_beside_one_of_its_name(tmp_path, caplog):
    """A folder of PNG files leaves the TIFF decoder out, which takes seconds: the log says what to do."""
    write_pictures(tmp_path, 120, size=SIZE)
    names = {"bmp.jpeg": "BMP RGB", "gif.png": "GIF palette", "tiff.png": "TIFF RGB", "webp.jpg": "WEBP RGB"}
    for name, kind in names.items():
        write(tmp_path / name, files()[kind])
    source, in_memory = (open_source(f"{kept}folder:{tmp_path}") for kept in ("", "memory:"))
    corrupt = CorruptImages(source)
    (images,) = evaluation_dataset(source, (*SIZE, 3), 124, 1.0, corrupt).as_numpy_iterator()
    assert list(corrupt.names) == [122] and corrupt.summary().startswith("1 of 124 images were skipped")
    assert f"skipped, cannot be decoded: {tmp_path}/tiff.png (a TIFF file: name it .tif)" in caplog.messages
    expected = [by_pillow(files()[kind], 3) for kind in names.values() if not kind.startswith("TIFF")]
    np.testing.assert_array_equal(images[120:], expected)
    np.testing.assert_array_equal(images[7], drawn(*SIZE, seed=7))
    assert not source.decoding.tiff and not in_memory.decoding.tiff
    for index, pixels in zip((120, 121, 123), expected, strict=True):
        np.testing.assert_array_equal(in_memory.image(tf.constant(index, tf.int64), 3), pixels)
    CorruptImages(in_memory).report(122)
    assert "skipped, cannot be decoded: " in caplog.messages[-1]
    assert caplog.messages[-1].endswith("/tiff.png (a TIFF file: name it .tif)")
    with pytest.raises(tf.errors.InvalidArgumentError, match="a TIFF file: name it .tif"):
        in_memory.image(tf.constant(122, tf.int64), 3)

    (tmp_path / "tiff.png").rename(tmp_path / "tiff.Tif")
    write(tmp_path / "other.png", files()["TIFF gray"])
    source = open_source(f"folder:{tmp_path}", decoding=Decoding(background=0))
    assert source.decoding == Decoding(background=0)
    for index, kind in ((122, "TIFF gray"), (123, "TIFF RGB")):
        np.testing.assert_array_equal(source.image(tf.constant(index, tf.int64), 3), by_pillow(files()[kind], 3))


@pytest.mark.medium
@pytest.mark.parametrize("form", ["BMP", "GIF", "WEBP", "TIFF"])
def test_formats_are_made_smaller_for_a_cache(form):
    """Of PNG and JPEG files tests/data/test_shrinking.py makes whole caches."""
    kind = f"{form} palette" if form == "GIF" else f"{form} RGB"
    as_png = encoded(as_image(by_pillow(files()[kind], 3)), "PNG")
    found, expected = (Shrinking(13)(contents, "uint8").numpy() for contents in (files()[kind], as_png))
    assert found == expected and tf.io.decode_png(found).shape == (13, 21, 3)


def test_a_gif_shows_its_first_frame_however_many_follow():
    frames = [as_image(drawn(*SIZE, 3, seed=seed)).quantize(64) for seed in range(3)]
    contents = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(contents)).n_frames == 3
    np.testing.assert_array_equal(decode_file(contents, 3), by_pillow(contents, 3))
    at = contents.index(b"\x2c", 800)
    damaged = contents[:at] + b"\x2c" + b"\xff" * 200  # what lies behind the first frame is not looked at
    np.testing.assert_array_equal(decode_file(damaged, 3), by_pillow(contents, 3))
