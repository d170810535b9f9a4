"""Mean and standard deviation: of whole images, of 8 and 16 bits, and on their way into a run's config."""

import numpy as np
import pytest

from keras_mae.data import ArraySource, measure_stats, open_source
from keras_mae.data.stats import read_stats
from tests.drawn import as_image, drawn, encoded, write, write_pictures

pytestmark = pytest.mark.usefixtures("png_and_jpeg")


def test_of_arrays_against_numpy(tmp_path):
    images = np.stack([drawn(9, 8, 4, seed=n) for n in range(30)])
    images[..., 1] //= 3
    for array, levels in ((images, 255), (images.astype("uint16") * 257, 65535)):
        stats = measure_stats(ArraySource(array), 4)
        np.testing.assert_allclose(stats.mean, array.mean(axis=(0, 1, 2)) / levels, atol=1e-5)
        np.testing.assert_allclose(stats.std, array.std(axis=(0, 1, 2)) / levels, atol=1e-5)
        assert (stats.num_images, stats.dtype) == (30, array.dtype.name)
    stats.write(str(tmp_path / "stats.json"))
    assert read_stats(str(tmp_path / "stats.json")) == stats


@pytest.mark.medium
def test_every_image_counts_alike_whatever_its_size(tmp_path):
    for number, size in enumerate([(4, 4), (40, 60)]):
        write(tmp_path / f"{number}.png", encoded(as_image(np.full((*size, 1), 100 * number + 20, "uint8")), "PNG"))
    stats = measure_stats(open_source(f"folder:{tmp_path}"), 1)
    np.testing.assert_allclose((stats.mean[0] * 255, stats.std[0] * 255), (70, 50), atol=0.01)


@pytest.mark.medium
def test_a_sample_is_always_the_same():
    source = ArraySource(np.stack([drawn(6, 7, seed=n) for n in range(130)]))
    assert measure_stats(source, 3, 20) == measure_stats(source, 3, 20) != measure_stats(source, 3, 21)


@pytest.mark.medium
def test_corrupt_images_are_left_out(tmp_path):
    source = open_source(f"folder:{write_pictures(tmp_path, 130, size=(6, 7), corrupt=(17,))}")
    stats = measure_stats(source, 3)
    assert stats.num_images == 129
    good = np.stack([drawn(6, 7, seed=n) for n in range(130) if n != 17]) / 255
    np.testing.assert_allclose(stats.mean, good.mean(axis=(0, 1, 2)), atol=1e-5)


@pytest.mark.medium
def test_errors(tmp_path):
    with pytest.raises(ValueError, match="channel 1 has the same level everywhere, in all 4 images"):
        measure_stats(ArraySource(np.stack([drawn(5, 5)] * 4) * np.array([1, 0, 1], "uint8")), 3)
    source = open_source(f"folder:{write_pictures(tmp_path / 'few', 30, corrupt=(1, 2))}")
    with pytest.raises(ValueError, match="2 of 30 images cannot be decoded"):
        measure_stats(source, 3)
    source = open_source(f"folder:{write_pictures(tmp_path / 'none', 3, corrupt=(0, 1, 2))}")
    with pytest.raises(ValueError, match=r"none of the 3 images looked at can be decoded, such as .*png \(.+\)"):
        measure_stats(source, 3)
    write(tmp_path / "other.json", b"[1, 2]")
    for name in ("other.json", "missing.json"):
        with pytest.raises(ValueError, match=f"{name} is not a file that keras-mae stats has written"):
            read_stats(str(tmp_path / name))
