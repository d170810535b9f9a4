"""Thumbnails: of the right images, in their order, of any depth and number of channels."""

import dataclasses
import io
import os

import numpy as np
import pytest
from PIL import Image

from keras_mae.data import ArraySource, open_source
from keras_mae.data.seen import Seen
from keras_mae.retrieval import thumbnails as module
from keras_mae.retrieval.thumbnails import source_of, thumbnails
from tests.base import random_images
from tests.drawn import as_image, drawn, encoded, write, write_pictures
from tests.retrieval.embedding import FileSource, batches_at

pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("png_and_jpeg")]


def header_of(data, channels=3):
    source = open_source(data)
    return {
        "data": data,
        "num_images": source.num_images,
        "data_digest": Seen(source).summary["digest"],
        "decoding": dataclasses.asdict(source.decoding),
        "image_shape": [32, 32, channels],
    }


def pixels(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg)), "float32")


def shrunk(image):
    """The square in the centre of a picture of 64 x 96 pixels, in 32 x 32."""
    return np.asarray(as_image(image[:, 16:80]).resize((32, 32), Image.Resampling.BICUBIC), "float32")


def test_an_image_that_cannot_be_read_has_none(monkeypatch):
    """The short form of the test below, without the graphs that read and decode files."""
    source = FileSource(
        np.broadcast_to(np.arange(6, dtype="uint8")[:, None, None, None] * 40, (6, 4, 5, 3)), corrupt=[1]
    )
    monkeypatch.setattr(module, "source_of", lambda header: source)
    monkeypatch.setattr(module, "batches_at", batches_at)
    index = np.array([4, 1, 0, 4])
    found = thumbnails({"image_shape": [4, 5, 3]}, index)
    assert [one and round(pixels(one).mean() / 40) for one in found] == [4, None, 0, 4]


@pytest.mark.slow
def test_are_the_images_in_the_order_of_the_index(tmp_path):
    header = header_of(f"folder:{write_pictures(tmp_path, 7, (64, 96), corrupt=(1, 3))}")
    index = np.array([4, 3, 0, 4, 1, 5])
    found = thumbnails(header, index, side=32)
    for number, jpeg in zip(index, found, strict=True):
        if number in (1, 3):
            assert jpeg is None
            continue
        expected = shrunk(drawn(64, 96, 3, seed=number))
        assert pixels(jpeg).shape == expected.shape
        assert np.abs(pixels(jpeg) - expected).mean() < 6  # what JPEG loses of the noise
    assert found[0] == found[3] and found[0] != found[2]
    assert thumbnails(header, np.zeros(0, "int64")) == []


def test_gray_stays_gray(tmp_path):
    images = np.stack([drawn(64, 96, 1, seed=number) for number in range(3)])
    np.savez(tmp_path / "images.npz", images=images)
    found = thumbnails(header_of(f"npz:{tmp_path}/images.npz", 1), [2, 0], side=32)
    for number, jpeg in zip((2, 0), found, strict=True):
        assert np.abs(pixels(jpeg) - shrunk(images[number])).mean() < 6 and pixels(jpeg).shape == (32, 32)


def test_sixteen_bits_are_stretched(tmp_path):
    """Levels between 1,000 and 5,000 of 65,535, which would be black."""
    y, x = np.mgrid[:40, :40]
    np.savez(tmp_path / "deep.npz", images=(1000 + 50 * (x + y)).astype("uint16")[None, ..., None])
    (found,) = thumbnails(header_of(f"npz:{tmp_path}/deep.npz", 1), [0], side=40)
    expected = 255 * (x + y) / 78
    assert np.abs(pixels(found).mean(axis=-1) - expected).max() < 12 and np.ptp(pixels(found)) > 230


@pytest.mark.parametrize("channels", [2, 5])
def test_other_numbers_of_channels_are_shown_in_colour(tmp_path, channels):
    images = random_images(4, (16, 16, channels))
    np.savez(tmp_path / "images.npz", images=images)
    found = thumbnails(header_of(f"npz:{tmp_path}/images.npz", channels), np.array([3, 1]), side=16)
    assert [pixels(one).shape for one in found] == [(16, 16, 3)] * 2


def test_data_that_have_changed_are_refused(tmp_path):
    header = header_of(f"folder:{write_pictures(tmp_path / 'images', 4)}")
    os.rename(tmp_path / "images" / "002.png", tmp_path / "images" / "z.png")
    with pytest.raises(ValueError, match="the images of the vectors, folder:.*, are others now: embed them anew"):
        thumbnails(header, np.array([0]))
    os.remove(tmp_path / "images" / "z.png")
    with pytest.raises(ValueError, match="the images of the vectors, folder:.*, were 4, and are 3: embed them anew"):
        thumbnails(header, np.array([0]))
    os.rename(tmp_path / "images", tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="there is no such folder"):
        thumbnails(header, np.array([0]))
    with pytest.raises(ValueError, match="the header of the vectors has no data: it does not tell where their images"):
        thumbnails({}, np.array([0]))


def test_files_are_read_in_the_depth_of_the_vectors(tmp_path):
    """A model of 8 bits has read 16-bit files in 8: the data are the same, though their own depth is another."""
    write(tmp_path / "0.png", encoded(Image.fromarray(np.arange(64, dtype="uint16").reshape(8, 8)), "png"))
    source = open_source(f"folder:{tmp_path}")
    assert source.dtype == "uint16"
    source.dtype = "uint8"
    header = {
        **header_of(f"folder:{tmp_path}", 1),
        "pixel_dtype": "uint8",
        "data_digest": Seen(source).summary["digest"],
    }
    assert source_of(header).dtype == "uint8"


def test_an_index_of_other_data_is_refused(monkeypatch):
    monkeypatch.setattr(module, "source_of", lambda header: ArraySource(random_images(3, (8, 8, 3))))
    with pytest.raises(ValueError, match="images are numbered from 0 to 2, got 1 to 3: the index is that of other"):
        thumbnails({"image_shape": [8, 8, 3]}, np.array([1, 3]))
