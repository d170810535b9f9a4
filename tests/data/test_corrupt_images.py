"""Images that cannot be decoded: named once, replaced, counted, and an error if they are too many."""

import os

import numpy as np
import pytest

from keras_mae.data import (
    ArraySource,
    Augmentation,
    CorruptImages,
    FolderSource,
    TrainingData,
    first_images,
    patient_reading,
)
from tests.drawn import drawn, write, write_pictures

pytestmark = pytest.mark.usefixtures("png_and_jpeg")

AS_THEY_COME = Augmentation(crop_scale=None, flip=False, crop_ratio=1.0)
SHAPE, COUNT, BATCH = (5, 6, 3), 210, 20
LOOKED_AT = np.linspace(0, COUNT - 1, 16).astype(int)  # what is decoded before the first step


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder without a corrupt image."""
    return write_pictures(tmp_path_factory.mktemp("whole"), COUNT, size=SHAPE[:2])


def with_corrupt(whole, folder, numbers):
    """A copy of the folder in which some images are corrupt."""
    for name in os.listdir(whole):
        os.link(os.path.join(whole, name), folder / name)
    for number in numbers:
        os.remove(folder / f"{number:03}.png")
        write(folder / f"{number:03}.png", b"no image")
    return str(folder)


def stream(folder, steps, augmentation=AS_THEY_COME, **place):
    """The images of some batches in one row, and what was reported."""
    data = TrainingData(FolderSource(folder), SHAPE, BATCH, 5, augmentation)
    return np.concatenate(list(data.at(**place).take(steps).as_numpy_iterator())), data.corrupt


@pytest.fixture(scope="module")
def good(whole):
    """Three epochs of ten batches without a corrupt image."""
    data = TrainingData(FolderSource(whole), SHAPE, BATCH, 5, AS_THEY_COME)
    return np.stack([drawn(*SHAPE[:2], seed=index) for step in range(30) for index in data.indices(step)])


BAD = (17, 100)


@pytest.fixture(scope="module")
def with_two(whole, tmp_path_factory):
    """The folder in which one file is empty and another is no image."""
    folder = tmp_path_factory.mktemp("two")
    path = with_corrupt(whole, folder, BAD)
    write(folder / f"{BAD[0]:03}.png", b"")
    return path


@pytest.fixture(scope="module")
def met(with_two):
    """Three epochs of it, and what was noted."""
    return stream(with_two, 30)


@pytest.mark.medium
def test_is_named_once_replaced_and_counted(good, with_two, met, caplog):
    bad, (found, corrupt) = BAD, met
    assert not set(bad) & set(LOOKED_AT)
    corrupt.check()  # looks at what the stream noted
    messages = [record.message for record in caplog.records if record.name == "keras_mae"]
    expected = [f"skipped, cannot be decoded: {with_two}/{number:03}.png" for number in bad]
    assert sorted(messages) == expected
    assert corrupt.summary() == "2 of 210 images were skipped because they cannot be decoded"
    corrupt.check()  # 0.95 %

    # every other image keeps its place, and the next good one stands in for a corrupt one
    bad_images = [drawn(*SHAPE[:2], seed=number) for number in bad]
    is_bad = np.array([any((image == one).all() for one in bad_images) for image in good])
    assert is_bad.sum() >= 4  # in three epochs each is left out of at most one or two
    np.testing.assert_array_equal(found[~is_bad], good[~is_bad])
    for place in np.flatnonzero(is_bad[:-1] & ~is_bad[1:]):
        np.testing.assert_array_equal(found[place], good[place + 1])


@pytest.mark.medium
def test_a_restart_gives_the_same_images(with_two, met):
    rest, _ = stream(with_two, 16, step=14)
    np.testing.assert_array_equal(rest, met[0][14 * BATCH :])


@pytest.mark.slow
@pytest.mark.parametrize("first_step", [3, 10, 14])
def test_a_restart_augments_them_in_the_same_way(with_two, first_step):
    begin, _ = stream(with_two, 18, Augmentation())
    rest, _ = stream(with_two, 18 - first_step, Augmentation(), step=first_step)
    np.testing.assert_array_equal(rest, begin[first_step * BATCH :])


@pytest.mark.medium
def test_too_many_seen_before_the_first_step(whole, tmp_path):
    bad = LOOKED_AT[[1, 5, 9]]
    message = (
        rf"3 of 210 images cannot be decoded, more than the tolerated 1 %: .*/{bad[0]:03}.png, .*/{bad[1]:03}.png, "
        rf".*/{bad[2]:03}.png; remove or repair them"
    )
    with pytest.raises(ValueError, match=message):
        stream(with_corrupt(whole, tmp_path, bad), 1)


@pytest.mark.medium
def test_too_many_discovered_while_streaming(whole, tmp_path):
    bad = [number for number in range(60, 80) if number not in LOOKED_AT]
    found, corrupt = stream(with_corrupt(whole, tmp_path, bad), 12)
    assert len(found) == 12 * BATCH
    with pytest.raises(ValueError, match=rf"{len(bad)} of 210 images cannot be decoded, more than .*, \.\.\.; remove"):
        corrupt.check()


def test_one_per_cent_is_tolerated():
    corrupt = CorruptImages(ArraySource(np.zeros((200, 1, 1, 1), "uint8"), name="image"))
    for index in (5, 7, 5):
        corrupt.report(index)
    corrupt.check()
    assert corrupt.summary() == "2 of 200 images were skipped because they cannot be decoded"
    corrupt.report(9)
    with pytest.raises(ValueError, match="3 of 200 images .*: image.5., image.7., image.9.; remove or repair them"):
        corrupt.check()


@pytest.mark.medium
def test_all_corrupt_is_an_error_and_no_endless_loop(tmp_path):
    folder = write_pictures(tmp_path, 40, corrupt=range(40))
    with pytest.raises(ValueError, match="none of the 16 images looked at, of 40, can be decoded, such as .*/000.png"):
        stream(folder, 1)
    with pytest.raises(ValueError, match="none of the .* images .*can be decoded, such as .*/000.png"):
        first_images(FolderSource(folder), SHAPE, 16, 1.0)


@pytest.mark.medium
def test_a_file_that_went_away_is_corrupt_too(whole, tmp_path, monkeypatch):
    """As an image looked at before the first step, and as one met while streaming."""
    monkeypatch.setattr(patient_reading, "ALONE", 1.0)
    folder = with_corrupt(whole, tmp_path, ())
    for number in (0, 100):
        os.remove(tmp_path / f"{number:03}.png")
        os.symlink("nowhere.png", tmp_path / f"{number:03}.png")
    assert 0 in LOOKED_AT and 100 not in LOOKED_AT
    _, corrupt = stream(folder, 20)
    assert sorted(corrupt.names) == [0, 100]
    assert len(first_images(FolderSource(folder), SHAPE, 5, 1.0)) == 5
