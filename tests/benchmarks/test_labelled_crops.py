"""Which pictures are photographs, and that crops for training and for the test share no pixel."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import labelled_crops


def noisy(height, width, seed):
    """A picture with detail everywhere, another one for each seed."""
    y, x = np.mgrid[0:height, 0:width] / height
    waves = np.sin((2 + seed % 5) * 3 * x + seed) + np.cos((3 + seed // 5) * 4 * y - seed)
    noise = np.random.default_rng(seed).normal(0, 20, (height, width))
    return np.clip(128 + 40 * waves + noise, 0, 255).astype("uint8")


def test_pictures_that_are_no_photographs_of_their_own_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled_crops, "NAMES", ())
    bundled = len(labelled_crops.photographs())
    (tmp_path / "deep" / "sizes").mkdir(parents=True)
    kept = noisy(400, 600, 1)
    Image.fromarray(kept).save(tmp_path / "a.png")
    Image.fromarray(255 - kept).save(tmp_path / "dark form.png")
    Image.fromarray(kept).resize((579, 386)).save(tmp_path / "other size.jpg")
    Image.fromarray(noisy(380, 600, 2)).save(tmp_path / "would be enlarged.png")
    drawing = np.full((400, 600), 90, "uint8")
    drawing[100:300, 200:400] = 200
    Image.fromarray(drawing).save(tmp_path / "drawing.png")
    for seed, size in ((3, (600, 400)), (4, (640, 400))):  # two views of one scene, by their names
        Image.fromarray(noisy(*size[::-1], seed)).save(tmp_path / "deep" / "sizes" / f"{size[0]}x{size[1]}.webp")
    (tmp_path / "a.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    found = labelled_crops.photographs(str(tmp_path))[bundled:]
    assert [picture.shape for picture in found] == [(384, 576), (384, 614)]  # a.png; and the larger of the two views
    np.testing.assert_allclose(found[0].mean(), kept.mean(), atol=1)  # of rounding to levels
    assert [each.shape for each in labelled_crops.photographs(str(tmp_path), side=24)[bundled:]][0] == (288, 432)


@pytest.mark.parametrize("side", [32, 48])
def test_crops_of_other_regions_are_for_the_test(side):
    """In photographs whose tiles for the test have columns, and the others rows: no crop has any of the others'."""
    tile = 2 * 32
    place = np.indices((4 * tile,) * 2)
    of_test = (place // tile).sum(axis=0) % 2
    stripes = np.where(of_test, place[1], place[0]) % 8 * 30.0
    for columns in (False, True):
        images, labels = labelled_crops.crops([stripes, stripes], 40, 0, columns, side, tile)
        assert images.shape == (80, side, side, 1) and images.dtype == "uint8"
        assert np.bincount(labels).tolist() == [40, 40]
        steps = np.abs(np.diff(images.astype(int), axis=1 if columns else 2))
        assert not steps.any()
        np.testing.assert_array_equal(labelled_crops.crops([stripes, stripes], 40, 0, columns, side, tile)[0], images)


def test_crops_have_detail_and_one_mean_and_contrast():
    """A part of the picture is flat, and the rest differs in brightness from place to place."""
    picture = noisy(256, 256, 7) * np.linspace(0.2, 1, 256)
    picture[:, :64] = 50.0  # a column of tiles
    images, _ = labelled_crops.crops([picture], 60, 1, of_test=False)
    pixels = images.astype(float)
    np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3)), 128, atol=3)  # what is cut off at 0 and 255
    np.testing.assert_allclose(pixels.std(axis=(1, 2, 3)), 50, atol=5)
    with pytest.raises(ValueError, match="photograph 1 has too little detail for 5 crops: leave it out"):
        labelled_crops.crops([picture, np.full((256, 256), 3.0)], 5, 1, of_test=False)


def test_flat_crops_are_taken_if_asked_for():
    images, labels = labelled_crops.crops([np.full((256, 256), 90.0, "float32")] * 2, 3, 0, of_test=True, flat=0)
    assert (images == 128).all() and labels.tolist().count(1) == 3
