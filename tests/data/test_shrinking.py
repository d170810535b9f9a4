"""The cache of images that are stored smaller: their pixels, what it refuses, and how it goes on."""

import collections
import io
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mae.data import (
    Augmentation,
    Decoding,
    TrainingData,
    evaluation_dataset,
    evaluation_transform,
    open_source,
    record_writer,
)
from keras_mae.data.shrinking import Shrinking, in_one_chunk
from keras_mae.data.sources import absolute, kept_images
from tests.data.test_orientation import photograph
from tests.drawn import as_image, drawn, encoded, write

pytestmark = pytest.mark.usefixtures("png_and_jpeg")

COUNT, SIDE = 9, 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Colour and gray files of two formats in two classes, one of them smaller than the cache's side."""
    path = tmp_path_factory.mktemp("xrays")
    for number in range(COUNT):
        size = (12, 15) if number == 4 else (25 + 7 * number, 90 - 5 * number)
        form = ("png", "jpeg", "jpeg")[number % 3]
        picture = as_image(drawn(*size, 1 if number % 2 else 3, seed=number))
        write(path / "ab"[number % 2] / f"{number}.{form}", encoded(picture, form))
    return str(path)


SHAPE, CROP = (16, 16, 3), 16 / SIDE  # 16 of 20 pixels, as 224 of 256 in another place


def images(specification):
    source = open_source(specification)
    return [source.image(tf.constant(index, tf.int64), 3).numpy() for index in range(source.num_images)]


@pytest.mark.medium
def test_an_evaluation_at_its_size_finds_the_same_pixels_and_labels(folder, tmp_path):
    large = images(f"folder:{folder}")
    specification = f"disk:{tmp_path}/cache:shrink={SIDE}:folder:{folder}"
    for image, original in zip(images(specification), large, strict=True):
        assert min(image.shape[:2]) == min(SIDE, *original.shape[:2])
        if min(original.shape[:2]) <= SIDE:
            np.testing.assert_array_equal(image, original)
    found = open_source(specification)
    assert found.class_names == ["a", "b"]
    evaluated = evaluation_dataset(found, SHAPE, 4, CROP, with_labels=True).as_numpy_iterator()
    pixels, labels = (np.concatenate(part) for part in zip(*evaluated))
    np.testing.assert_array_equal(pixels, [evaluation_transform(image, SHAPE, CROP) for image in large])
    np.testing.assert_array_equal(labels, open_source(f"folder:{folder}").labels)


@pytest.mark.medium
def test_pixels_are_pillows_and_gray_is_stored_once(tmp_path):
    colour, gray = drawn(50, 80), drawn(70, 44, 1)
    for pixels, size, mode in ((colour, (32, 20), "RGB"), (gray, (20, 32), "L")):
        stored = Shrinking(SIDE)(encoded(as_image(pixels), "PNG"), "uint8").numpy()
        found = Image.open(io.BytesIO(in_one_chunk(stored)))
        assert found.mode == mode and found.size == size
        expected = as_image(pixels).resize((size[0], pixels.shape[0]), 3).resize(size, 3)  # width first
        # Pillow's filter tables hold 22 bits, and are not float32's: what is almost half is rounded another way
        apart = np.abs(np.asarray(found).astype(int) - np.asarray(expected))
        assert apart.max() <= 1 and (apart > 0).mean() < 0.05
    deep = (drawn(50, 80, 1).astype("uint16") << 8) + drawn(50, 80, 1, seed=1)
    stored = Shrinking(50)(encoded(as_image(deep), "PNG"), "uint16")
    np.testing.assert_array_equal(tf.io.decode_png(stored, dtype=tf.uint16), deep)


@pytest.mark.medium
def test_what_decides_over_the_pixels_is_what_is_asked_for(tmp_path):
    """Transparent pixels lie over the run's background, and a photograph is upright."""
    pixels = drawn(30, 40, 4)
    pixels[..., 3] = 0
    write(str(tmp_path / "d" / "1.png"), encoded(as_image(pixels), "PNG"))
    write(str(tmp_path / "d" / "2.jpeg"), photograph(6))
    for place in ("disk", "memory:disk"):
        specification = f"{place}:{tmp_path}/cache:shrink=9:folder:{tmp_path}/d"  # written, and found
        source = open_source(specification, decoding=Decoding(background=77))
        transparent, turned = (source.image(tf.constant(index, tf.int64), 3).numpy() for index in range(2))
        assert set(np.unique(transparent)) == {77}
        upright = Shrinking(9)(photograph(6), "uint8")
        np.testing.assert_array_equal(turned, tf.io.decode_png(upright, 3))
        with pytest.raises(
            ValueError, match="background 77, max_pixels 100000000, and this run needs images with side 9, b"
        ):
            open_source(specification)


@pytest.mark.medium
def test_it_trains_on_what_is_stored(folder, tmp_path):
    """The stream of the cache is that of its images, from any step on."""
    specification = f"disk:{tmp_path}/cache:shrink={SIDE}:folder:{folder}"
    as_they_come = Augmentation(crop_scale=None, flip=False, crop_ratio=CROP)
    data = TrainingData(open_source(specification), SHAPE, 3, 5, as_they_come)
    stored = [evaluation_transform(image, SHAPE, CROP) for image in images(specification)]
    for step, batch in enumerate(data.at(2).take(6), 2):
        np.testing.assert_array_equal(batch, [stored[index] for index in data.indices(step)])


@pytest.mark.medium
def test_an_interrupted_cache_goes_on_with_what_is_missing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(record_writer, "_PER_FILE", 3)
    specification, write_index = f"disk:{tmp_path}/cache:shrink={SIDE}:folder:{folder}", record_writer._write_index
    monkeypatch.setattr(record_writer, "_write_index", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        open_source(specification)
    monkeypatch.setattr(record_writer, "_write_index", write_index)
    files = sorted((tmp_path / "cache" / "all").glob("*.tfrecord"))
    assert len(files) == 3
    before = {file: file.stat().st_mtime_ns for file in files}
    files[1].unlink()
    with pytest.raises(
        ValueError, match=r"was begun with other images: it holds images with side 20, .*; remove the cache"
    ):
        open_source(specification.replace(f"={SIDE}", "=10"))
    source = open_source(f"folder:{folder}")
    for number, image in enumerate(images(specification)):
        wanted = Shrinking(SIDE)(tf.io.read_file(source.name_of(number)), "uint8")
        np.testing.assert_array_equal(image, tf.io.decode_png(wanted, 3))
    assert [file.stat().st_mtime_ns == before[file] for file in files] == [True, False, True]


@pytest.mark.medium
def test_a_cache_of_another_size_or_of_other_images_is_refused(folder, tmp_path):
    cache = f"disk:{tmp_path}/cache"
    open_source(f"{cache}:shrink={SIDE}:folder:{folder}")
    with pytest.raises(
        ValueError, match="it holds images with side 20, .* and this run needs images with side 21, .*; remove"
    ):
        open_source(f"{cache}:shrink=21:folder:{folder}")
    with pytest.raises(ValueError, match="and this run needs images as in their files; remove the cache"):
        open_source(f"{cache}:folder:{folder}")
    shutil.copytree(folder, tmp_path / "more")
    write(str(tmp_path / "more" / "a" / "new.png"), encoded(as_image(drawn(30, 30)), "PNG"))
    with pytest.raises(ValueError, match="there were 9 images to train on, and there are 10; remove the cache"):
        open_source(f"{cache}:shrink={SIDE}:folder:{tmp_path}/more")
    open_source(f"disk:{tmp_path}/whole:folder:{folder}")
    with pytest.raises(ValueError, match="it holds images as in their files, and this run needs images with side 20"):
        open_source(f"disk:{tmp_path}/whole:shrink={SIDE}:folder:{folder}")


@pytest.mark.medium
def test_a_corrupt_image_keeps_its_place_and_is_skipped(tmp_path, caplog):
    for number in range(120):
        picture = as_image(drawn(24, 30, seed=number))
        write(str(tmp_path / "d" / f"{number:03}.png"), b"no image" if number == 7 else encoded(picture, "PNG"))
    source = open_source(f"disk:{tmp_path}/c:shrink=12:folder:{tmp_path}/d")
    assert "007.png" in caplog.text and "1 of 120 images were skipped" in caplog.text
    assert source.num_images == 120 and not source.read(tf.constant(7, tf.int64))["image"].numpy()
    expected = Shrinking(12)(encoded(as_image(drawn(24, 30, seed=8)), "PNG"), "uint8")
    np.testing.assert_array_equal(source.image(tf.constant(8, tf.int64), 3), tf.io.decode_png(expected, 3))


def test_a_disk_without_space_is_refused_before_anything_is_written(folder, tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    for free, allowed in ((3000, False), (30_000, True)):  # the nine images take some 12 kB
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free))  # noqa: B023
        specification = f"disk:{tmp_path}/new/cache:shrink={SIDE}:folder:{folder}"
        if allowed:
            assert open_source(specification).num_images == COUNT
            written = sum(os.path.getsize(path) for path in (tmp_path / "new" / "cache" / "all").iterdir())
            assert 3000 < written < 30_000
        else:
            with pytest.raises(
                ValueError, match=r"9 images take about 0.0 GB, and 0.0 GB are free; name a folder on a"
            ):
                open_source(specification)
            assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("wrong", ["shrink=", "shrink=x", "shrink=-3", "shrink=1.5"])
def test_shrink_is_a_number_of_pixels(folder, tmp_path, wrong):
    with pytest.raises(ValueError, match=f"shrink is the shorter side in pixels, a whole number, .* got {wrong}$"):
        open_source(f"disk:{tmp_path}/c:{wrong}:folder:{folder}")


def test_refusals(folder, tmp_path):
    with pytest.raises(ValueError, match="at least 1, such as shrink=256; got 0"):
        open_source(f"disk:{tmp_path}/c:shrink=0:folder:{folder}")
    with pytest.raises(ValueError, match="shrink is for image files, and digits has none; leave shrink=9: out"):
        open_source(f"disk:{tmp_path}/c:shrink=9:digits")
    for kind in ("images", "masks"):
        write(str(tmp_path / kind / "1.png"), encoded(as_image(drawn(9, 9, 1)), "PNG"))
    with pytest.raises(ValueError, match="images without masks, and pairs:.* has masks; leave shrink=8: out"):
        open_source(f"disk:{tmp_path}/c:shrink=8:pairs:{tmp_path}/images,{tmp_path}/masks")


def test_specifications_keep_it():
    assert absolute("disk:c:shrink=64:folder:x", "/here") == "disk:/here/c:shrink=64:folder:/here/x"
    assert kept_images("memory:disk:c:shrink=64:folder:x") == "folder:x"


def test_one_chunk_is_the_same_image():
    pixels = drawn(120, 160)
    png = tf.io.encode_png(pixels, compression=0).numpy()
    assert png.count(b"IDAT") > 1
    one = in_one_chunk(png)
    assert one.count(b"IDAT") == 1
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(one))), pixels)  # Pillow checks the sums
    np.testing.assert_array_equal(tf.io.decode_png(one), pixels)
